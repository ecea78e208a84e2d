/** Who finds the authority of inspected TLS in the agent's container of a pod, where nothing can be mounted: README's table of it. Takes root. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { makePod, type Pod } from './pod.ts';
import { finish, isRoot, useWorld } from './sandbox.ts';

const URL = 'https://allowed.demo.test:8443';
const RULES = `network_policies:
  reading:
    endpoints: [{ host: allowed.demo.test, port: 8443, protocol: rest, rules: [{ allow: { method: GET, path: "/**" } }], allowed_ips: [10.77.0.0/24] }]
    binaries: [{ path: "/**" }]
`;
const FETCH = `import java.net.*;
public class T { public static void main(String[] a) throws Exception {
  System.out.print(new String(new URL(a[0]).openStream().readAllBytes())); } }
`;
const JAVA = existsSync('/usr/bin/java');
const CHROMIUM = existsSync('/usr/bin/chromium') && existsSync('/usr/bin/certutil');
const BROWSE =
  'chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$PWD/profile" --timeout=20000 --dump-dom';

const world = useWorld();
let pod: Pod;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

async function inPod(script: string, options: readonly string[] = []) {
  pod = await makePod(world(), RULES);
  writeFileSync(join(pod.work, 'T.java'), FETCH);
  const sidecar = finish(await pod.sidecar());
  const agent = await finish(pod.agent(['sh', '-c', script], { options }));
  await sidecar;
  return agent;
}

describe.skipIf(!isRoot)('the agent’s container of a pod', () => {
  test.skipIf(!JAVA).each<[string, string, readonly string[]]>([
    ['started as Java’s scripts do', `java $JAVA_OPTS T.java ${URL}/java`, []],
    ['told more by the operator', `java $JAVA_OPTS T.java ${URL}/java; echo "$JAVA_OPTS" | grep -o -e -Xmx200m`, ['--shared-env', 'JAVA_OPTS=-Xmx200m']],
    ['with a store of its own', `cp /etc/ssl/certs/java/cacerts own && chmod u+w own && keytool -importcert -noprompt -alias castellan -file "$NODE_EXTRA_CA_CERTS" -keystore own -storepass changeit 2>/dev/null && java -Djavax.net.ssl.trustStore=own T.java ${URL}/java`, []],
  ])('Java, %s', async (_, script, options) => {
    const { stdout, stderr } = await inPod(script, options);
    expect(stdout, stderr).toBe(`GET allowed.demo.test:8443 /java 0\n${options.length > 0 ? '-Xmx200m\n' : ''}`);
  }); // biome-ignore format: one row a case

  test.skipIf(!JAVA)('Java, by the path that is the same in every run', async () => {
    const store = 'agent-run/castellan/.trust/java-cacerts';
    const { stdout, stderr } = await inPod(
      `java -Djavax.net.ssl.trustStore="$PWD/../${store}" T.java ${URL}/java; ls ../agent-run/castellan; rm ../agent-run/castellan/.trust`,
    );
    expect(stdout, stderr).toBe('GET allowed.demo.test:8443 /java 0\n');
    expect(stderr).toMatch(/ls: cannot open directory[^\n]*\nrm: cannot remove[^\n]*\n$/);
    expect(readdirSync(join(pod.directory, 'agent-run/castellan'))).toEqual([]);
  });

  test.skipIf(!JAVA)('Java that is told nothing does not, and says that alone', async () => {
    const { stdout, stderr } = await inPod(`java T.java ${URL}/java`);
    expect(stdout).toBe('');
    expect(stderr).toContain('unable to find valid certification path');
    expect(stderr).not.toContain('Picked up');
  });

  test.skipIf(!CHROMIUM)('Chromium, by the store of its user', async () => {
    const script = `export HOME=$PWD TMPDIR=$PWD; mkdir -p ~/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -N --empty-password &&
certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n castellan -i "$NODE_EXTRA_CA_CERTS"; ${BROWSE} ${URL}/page`;
    const { stdout, stderr } = await inPod(script);
    expect(stdout, stderr).toContain('GET allowed.demo.test:8443 /page');
  });
});

/** Credentials of a real run: the agent has placeholders, the origin has secrets, and nobody else has them. */
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  auditEvents,
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

/** In two halves, so that whoever looks for it does not find where it is looked for. */
const HALVES = ['ghp_CastellanEndToEnd', 'Secret0123456789'] as const;
const SECRET = HALVES.join('');
const FILE = `version: 1
credentials:
  API_TOKEN: { value: ${SECRET}, provider: demo }
  OWN_TOKEN: { value: ${SECRET}, endpoints: [{ host: other.demo.test, port: 8443, path: "/digest" }] }
`;
const NETWORK = `network_policies:
  bound:
    endpoints: [{ host: allowed.demo.test, port: 8443, allowed_ips: [10.77.0.0/24], credential_binding: { provider: demo } }]
    binaries: [{ path: /usr/bin/curl }]
  free:
    endpoints: [{ host: other.demo.test, ports: [8443, 8080], allowed_ips: [10.77.0.0/24] }]
    binaries: [{ path: /usr/bin/curl }]
`;
const DIGEST = createHash('sha256').update(`Bearer ${SECRET}`).digest('hex');

function credentials(setup: Setup, text = FILE): readonly string[] {
  const path = join(setup.directory, 'credentials.yaml');
  writeFileSync(path, text, { mode: 0o600 });
  if (setup.mode !== 'root') chownSync(path, CALLER_UID, CALLER_UID);
  return ['--credentials', path];
}

async function sh(setup: Setup, script: string, options: readonly string[] = [], text?: string) {
  const policy = writePolicy(setup, NETWORK);
  return finish(
    run(setup, ['/bin/sh', '-c', script], { policy, options: [...credentials(setup, text), ...options] }),
  );
}

/** Everything that the agent can read: files, and what /proc tells of every process. */
const SEARCH = `
import os, re, sys
secret = ("${HALVES[0]}" + "${HALVES[1]}").encode()
looked = 0
control = False
def look(path, data):
    global control
    if b"API_TOKEN=openshell:" + b"resolve:env:" in data: control = True
    if secret in data: print("FOUND in", path)
def read(path):
    global looked
    try:
        with open(path, "rb") as file: data = file.read(1 << 24)
    except OSError: return
    looked += 1
    look(path, data)
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid(): continue
    for name in ("environ", "cmdline", "auxv", "maps", "stat", "status"): read(f"/proc/{pid}/{name}")
    try: held = os.listdir(f"/proc/{pid}/fd")
    except OSError: held = []
    for number in held: 
        if os.path.isfile(f"/proc/{pid}/fd/{number}"): read(f"/proc/{pid}/fd/{number}")
    try:
        maps = open(f"/proc/{pid}/maps").read(); memory = open(f"/proc/{pid}/mem", "rb")
        for begin, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) r", maps, re.M):
            try: memory.seek(int(begin, 16)); look(f"/proc/{pid}/mem", memory.read(int(end, 16) - int(begin, 16)))
            except (OSError, OverflowError, ValueError): pass
    except OSError: pass
for top in ("/tmp", "/run", "/var", "/home", "/root", "/etc", os.getcwd(), os.path.expanduser("~"), "${'DIRECTORY'}"):
    for folder, folders, files in os.walk(top):
        for name in files: 
            path = os.path.join(folder, name)
            if os.path.isfile(path): read(path)
for name, value in os.environ.items(): look("environment " + name, value.encode())
print("looked" if looked > 50 and control else f"looked at {looked} only")
`;

describe.skipIf(!isRoot).each(MODES)('credentials, %s (needs root to make the test world)', (mode) => {
  it('arrive at their endpoints, from a placeholder in the environment of everything that is started', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout, stderr } = await sh(
      setup,
      `echo "$API_TOKEN"; curl -sS -H "Authorization: Bearer $API_TOKEN" https://allowed.demo.test:8443/digest; curl -sS -H "Authorization: Bearer $OWN_TOKEN" https://other.demo.test:8443/digest`,
    );
    expect(stdout, stderr).toBe(`openshell:resolve:env:API_TOKEN\n${DIGEST}\n${DIGEST}\n`);
    const events = auditEvents(setup);
    expect(events).toContainEqual(
      expect.objectContaining({ unmapped: expect.objectContaining({ credentials: ['API_TOKEN'] }) }),
    );
    expect(JSON.stringify(events) + stderr).not.toContain(SECRET);
  });

  it('go nowhere else, and that is found', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout } = await sh(
      setup,
      [
        'https://other.demo.test:8443/digest',
        'https://other.demo.test:8443/else',
        'http://other.demo.test:8080/digest',
      ]
        .map((url) => `curl -sS -H "Authorization: Bearer $API_TOKEN" ${url}`)
        .join('; '),
    );
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(answers).toMatchObject(Array(3).fill({ reason: 'credential_endpoint_mismatch' }));
    const findings = auditEvents(setup).filter(({ class_uid }) => class_uid === 2004);
    expect(findings.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('the credential API_TOKEN may not go to other.demo.test:8443'),
    );
  });

  it('are in nothing that the agent can read', async () => {
    const setup = prepare(sharedWorld(), mode);
    const script = join(setup.work, 'search.py');
    writeFileSync(script, SEARCH.replace('DIRECTORY', setup.directory));
    chmodSync(script, 0o644);
    const { stdout, stderr } = await sh(
      setup,
      `curl -sS -H "Authorization: Bearer $API_TOKEN" https://allowed.demo.test:8443/digest; python3 search.py`,
    );
    expect(stdout, stderr).toBe(`${DIGEST}\nlooked\n`);
    for (const name of readdirSync(setup.directory, { recursive: true, encoding: 'utf8' }))
      if (/\.jsonl$|^work\//.test(name))
        expect(readFileSync(join(setup.directory, name), 'utf8')).not.toContain(SECRET);
  });

  it('are placeholders in sessions too', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = `credentials-${mode}`;
    const policy = writePolicy(setup, NETWORK);
    const main = run(setup, ['/bin/sh', '-c', 'echo up; read _'], {
      policy,
      name,
      stdin: 'pipe',
      options: credentials(setup),
    });
    await untilPrinted(main, 'up');
    const ended = finish(main);
    const session = await finish(castellan(setup, ['ssh', '--sandbox', name, '--', 'echo "$API_TOKEN"']));
    main.stdin?.end('\n');
    expect(session.stdout, session.stderr).toBe('openshell:resolve:env:API_TOKEN\n');
    await ended;
  });

  it('sign requests', async () => {
    const setup = prepare(sharedWorld(), mode);
    const keys = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
    const entries = keys.map((name) => `  ${name}: { value: ${SECRET}, provider: demo }\n`).join('');
    const signing = 'credential_signing: sigv4, signing_service: s3, signing_region: eu-west-1';
    const policy = writePolicy(setup, NETWORK.replace('provider: demo }', `provider: demo }, ${signing}`));
    const options = credentials(setup, `version: 1\ncredentials:\n${entries}`);
    const url = 'https://allowed.demo.test:8443/file';
    const { stdout, stderr } = await finish(
      run(setup, ['curl', '-sS', '-d', 'body', url], { policy, options }),
    );
    expect(stdout, stderr).toBe('POST allowed.demo.test:8443 /file 4\n');
    expect(auditEvents(setup)).toContainEqual(
      expect.objectContaining({ unmapped: expect.objectContaining({ credentials: keys }) }),
    );
  });

  it('can be looked at beforehand, without the secrets', async () => {
    const setup = prepare(sharedWorld(), mode);
    const [, path = ''] = credentials(
      setup,
      `${FILE}  BOT: { value: ${SECRET}, provider: demo, prefix: xoxb-, places: ["header:authorization"], expires: 2099-01-01T00:00:00Z }\n`,
    );
    const { code, stdout } = await finish(castellan(setup, ['credentials', path]));
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `API_TOKEN=openshell:resolve:env:API_TOKEN  to what the policy binds to demo
OWN_TOKEN=openshell:resolve:env:OWN_TOKEN  to other.demo.test:8443/digest
BOT=xoxb-OPENSHELL-RESOLVE-ENV-BOT  to what the policy binds to demo; in header:authorization; until 2099-01-01T00:00:00.000Z
`,
    });
    const wrong = await finish(castellan(setup, ['credentials', setup.directory]));
    expect(wrong).toMatchObject({ code: 115, stderr: expect.stringContaining('cannot be read') });
    const options = ['--policy', writePolicy(setup, NETWORK), '--workdir', setup.work];
    const validated = await finish(castellan(setup, ['validate', ...options, '--', '/bin/sh']));
    expect(validated.stdout).toContain(
      'rule bound uses credentials at allowed.demo.test, and there are none',
    );
  });

  it.each([
    [
      'a file that is wrong',
      `version: 1\ncredentials:\n  A: { value: ${SECRET}\n`,
      [],
      'credentials.yaml:4:1: the text is no YAML',
    ],
    [
      'a credential that goes nowhere',
      `version: 1\ncredentials:\n  A: { value: ${SECRET} }\n`,
      [],
      'credentials.yaml:3:6: A may go nowhere',
    ],
    [
      'a name that --env has',
      FILE,
      ['--env', 'API_TOKEN=x'],
      'credential API_TOKEN: the variable has another value already',
    ],
    [
      'a name of castellan’s own',
      FILE.replace('API_TOKEN', 'SSL_CERT_FILE'),
      [],
      'credential SSL_CERT_FILE: the variable has another value already',
    ],
  ])('do not start with %s', async (_, text, options, message) => {
    const setup = prepare(sharedWorld(), mode);
    const { code, stderr } = await sh(setup, 'echo started', options, text);
    expect({ code, stderr }).toEqual({ code: 115, stderr: expect.stringContaining(message) });
    expect(stderr + JSON.stringify(auditEvents(setup))).not.toContain(SECRET);
  });
});

/** TLS with origins: whom they have to be certified by, sessions that are used again, and what the record says of it. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { dirname, join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { NetworkRule } from '../../src/policy/document.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { policyFiles } from '../../src/start/policy.ts';
import {
  type Certificate,
  curl,
  type EgressWorld,
  listen,
  makeCertificate,
  startWorld,
} from './egress-world.ts';
import { inspected, tunnel } from './inspect-world.ts';

const REST = 'protocol: rest, access: full';

interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly authority?: Certificate;
}

function policy(...endpoints: readonly Endpoint[]): readonly NetworkRule[] {
  const lines = endpoints.map(
    ({ host, port, authority }, index) =>
      `  r${index}: {endpoints: [{host: ${host}, port: ${port}, ${REST}${authority ? `, tls_authority: ${authority.path}` : ''}}], binaries: [{path: /usr/bin/curl}]}\n`,
  );
  return parsePolicy(`version: 1\nnetwork_policies:\n${lines.join('')}`, 'p', policyFiles()).network;
}

const serve = ({ key, cert }: Certificate) =>
  listen(createHttps({ key, cert }, (request, response) => response.end(`${request.headers.host}\n`)));

/** curl that trusts the sandbox's authority. */
function fetchFrom(world: EgressWorld, { path }: Certificate, ...args: string[]) {
  const authority = join(dirname(path), 'sandbox.pem');
  writeFileSync(authority, world.egress.authority ?? '');
  return curl(world, '--cacert', authority, ...args);
}

describe('tls_authority', () => {
  test('is all that an origin may be certified by: others do for other endpoints', async () => {
    using pinned = makeCertificate('a.test', 'b.test');
    using common = makeCertificate('a.test', 'b.test');
    await using pinnedOrigin = await serve(pinned);
    await using commonOrigin = await serve(common);
    const [one, other] = [pinnedOrigin.port, commonOrigin.port];
    await using world = await startWorld(
      policy(
        { host: 'a.test', port: one, authority: pinned },
        { host: 'a.test', port: other, authority: pinned },
        { host: 'b.test', port: one },
        { host: 'b.test', port: other },
      ),
      { roots: [common.cert] },
    );
    for (const [host, port, isTrusted] of [
      ['a.test', one, true],
      ['a.test', other, false],
      ['b.test', one, false],
      ['b.test', other, true],
      // Again, now that connections and sessions may be kept.
      ['a.test', one, true],
      ['a.test', other, false],
    ] as const) {
      const { stdout } = await fetchFrom(world, common, `https://${host}:${port}/`);
      const expected = isTrusted ? `${host}:${port}\n` : 'upstream_tls_failed';
      expect(stdout.toString(), `${host}:${port}`).toContain(expected);
    }
  });

  test('that changes ends what the old one let through, and later requests are verified anew', async () => {
    using first = makeCertificate('api.test');
    await using it = await inspected(REST, { server: '2', mayInspect: true });
    const client = await tunnel(it.world, it.port, 'h2');
    const session = connectHttp2(it.base, { createConnection: () => client });
    const ask = async () => {
      const stream = session.request({ ':path': '/' });
      const [headers] = await once(stream, 'response');
      let text = '';
      for await (const chunk of stream.setEncoding('utf8')) text += chunk;
      return `${headers[':status']} ${text}`;
    };
    expect(await ask()).toContain('200');
    const hanging = session.request({ ':path': '/', ':method': 'POST' }, { endStream: false });
    hanging.on('error', () => {}).resume();
    await expect
      .poll(() => it.world.facts.filter(({ kind }) => kind === 'connection-allowed').length)
      .toBe(3);
    const next = policy({ host: 'api.test', port: it.port, authority: first });
    expect(it.world.egress.replacePolicy(compilePolicy(next))).toBe(1);
    await once(hanging, 'close');
    expect(await ask()).toMatch(/502 .*upstream_tls_failed/);
    session.destroy();
  });
});

describe('sessions with origins', () => {
  async function resumptions(
    version: 'TLSv1.2' | 'TLSv1.3',
    times: number,
    between: (world: EgressWorld, certificate: Certificate) => void = () => {},
  ): Promise<readonly (boolean | undefined)[]> {
    using certificate = makeCertificate('a.test');
    const { key, cert } = certificate;
    const server = createHttps({ key, cert, maxVersion: version, minVersion: version }, (_, response) =>
      response.end('x'),
    );
    const seen: boolean[] = [];
    server.on('secureConnection', (socket: TLSSocket) => seen.push(socket.isSessionReused()));
    await using origin = await listen(server);
    const rules = policy({ host: 'a.test', port: origin.port });
    await using world = await startWorld(rules, { roots: [cert] });
    for (let index = 0; index < times; index += 1) {
      await fetchFrom(world, certificate, `https://a.test:${origin.port}/`);
      if (index === 0) between(world, certificate);
    }
    const told = world.facts.flatMap((fact) =>
      fact.kind === 'connection-allowed' && fact.tls ? [fact.tls.isResumed] : [],
    );
    expect(told).toEqual(seen);
    return seen;
  }

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('are used again in %s', async (version) => {
    expect(await resumptions(version, 3)).toEqual([false, true, true]);
  });

  test('are not, once another authority has to certify the origin', async () => {
    const seen = await resumptions('TLSv1.3', 2, (world, authority) => {
      const [rule] = world.facts.flatMap((fact) => (fact.kind === 'connection-allowed' ? [fact.intent] : []));
      world.egress.replacePolicy(compilePolicy(policy({ host: 'a.test', port: rule?.port ?? 0, authority })));
    });
    expect(seen).toEqual([false, false]);
  });
});

test('the record tells how TLS was agreed, and of whose certificate', async () => {
  await using it = await inspected(REST);
  await it.fetch(`${it.base}/`);
  const fact = it.world.facts.find((each) => each.kind === 'connection-allowed' && 'tls' in each);
  expect(fact).toMatchObject({
    tls: {
      version: 'TLSv1.3',
      cipher: expect.stringMatching(/^TLS_/),
      serverName: 'api.test',
      isResumed: false,
      issuer: 'CN=origin',
      serialNumber: expect.stringMatching(/^[0-9A-F]+$/),
    },
  });
});

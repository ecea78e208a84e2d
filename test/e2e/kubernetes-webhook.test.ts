/** `castellan kubernetes webhook` as a cluster runs it: started, probed, rotated, stopped. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { applyPatch } from 'rfc6902';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { LAST_CASE, podOf, reviewOf } from '../fakes/admission.ts';
import { startApiServer } from '../fakes/api-server.ts';
import { makeAuthority } from '../fakes/authority.ts';
import { freePort } from '../ports.ts';

const isRoot = process.getuid?.() === 0;
const authority = makeAuthority('webhook test');
const directory = mkdtempSync(join(tmpdir(), 'castellan-webhook-'));
const file = (name: string, text?: string) => {
  if (text !== undefined) writeFileSync(join(directory, name), text);
  return join(directory, name);
};
const pair = authority.issue('127.0.0.1');
file('tls.crt', pair.cert);
file('tls.key', pair.key);
file('review.json', JSON.stringify(reviewOf(LAST_CASE, podOf(LAST_CASE))));
afterAll(() => {
  authority[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

interface Started {
  readonly child: ChildProcess;
  readonly url: string;
  readonly validation: string;
  readonly health: string;
  readonly lines: readonly string[];
  /** Waits for a line that has the words in it. */
  said(words: string): Promise<void>;
}

const running: ChildProcess[] = [];
afterEach(async () => {
  for (const child of running.splice(0))
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
});

async function start(
  configuration: string,
  options: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
  by: readonly string[] = [],
): Promise<Started> {
  const [port, healthPort] = [await freePort(), await freePort()];
  file('webhook.yaml', configuration);
  const files = [
    '--config',
    file('webhook.yaml'),
    '--tls-certificate',
    file('tls.crt'),
    '--tls-key',
    file('tls.key'),
  ];
  const listen = ['--listen', `127.0.0.1:${port}`, '--health-listen', `127.0.0.1:${healthPort}`];
  const program = [process.execPath, join(import.meta.dirname, '../../src/main.ts'), 'kubernetes', 'webhook'];
  const [first = '', ...words] = [...by, ...program, ...files, ...listen, ...options];
  const child = spawn(first, words, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], ...env },
  });
  running.push(child);
  const lines: string[] = [];
  const waiting = new Map<string, () => void>();
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
    lines.push(line);
    for (const [words, resolve] of waiting) if (line.includes(words)) resolve();
  });
  const said = async (words: string) => {
    if (lines.some((line) => line.includes(words))) return;
    await new Promise<void>((resolve) => waiting.set(words, resolve));
  };
  const started = {
    child,
    url: `https://127.0.0.1:${port}/mutate`,
    validation: `https://127.0.0.1:${port}/validate`,
    health: `http://127.0.0.1:${healthPort}`,
    lines,
    said,
  };
  await Promise.race([said('listens on'), once(child, 'exit')]);
  return started;
}

async function probe(url: string): Promise<number> {
  const [response] = await once(get(url, { agent: false }), 'response');
  response.resume();
  return response.statusCode;
}

interface Answer {
  readonly allowed: boolean;
  readonly patch?: string;
  readonly status?: { readonly message: string };
}

const curl = (url: string, ...more: readonly string[]) => send('review.json', url, ...more);

/** Not at once: the API server of the test is in this process. */
async function send(name: string, url: string, ...more: readonly string[]): Promise<Answer> {
  const body = ['-H', 'Content-Type: application/json', '--data-binary', `@${file(name)}`];
  const options = ['-sS', '--fail', '--cacert', authority.path, ...more];
  const { stdout } = await promisify(execFile)('curl', [...options, ...body, url]);
  return JSON.parse(stdout).response;
}

const OPEN = 'version: 1\nimage: castellan:1\n';
const CONFIGURED = `${OPEN}sandbox_uid: 1000680000\nsandbox_gid: 1000680000\n`;

describe('castellan kubernetes webhook', () => {
  it('is ready, changes pods, and goes on for its grace after TERM', async () => {
    const { child, url, health, lines, said } = await start(CONFIGURED, ['--grace', '300']);
    expect(await Promise.all(['live', 'startup', 'ready'].map((name) => probe(`${health}/${name}`)))).toEqual(
      [200, 200, 200],
    );
    expect(await curl(url)).toMatchObject({ allowed: true, patch: expect.any(String) });
    child.kill('SIGTERM');
    await said('is stopping');
    expect([await probe(`${health}/live`), await probe(`${health}/ready`)]).toEqual([200, 503]);
    expect((await curl(url)).allowed).toBe(true);
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    expect((await ended)[0]).toBe(0);
    expect(lines.join('\n')).toMatch(/pod agents\/agent-6d4cf56db6-\* changed \[/);
    expect(lines.join('\n')).not.toMatch(/hunter2|PRIVATE KEY/);
  });

  it('has stored what it gave, and neither what asks without it nor what was changed since', async () => {
    const { url, validation, said } = await start(CONFIGURED);
    const asking = podOf(LAST_CASE);
    expect((await curl(validation)).status?.message).toMatch(/castellan is not in it/);
    const { patch = '' } = await curl(url);
    const pod = structuredClone(asking);
    applyPatch(pod, JSON.parse(Buffer.from(patch, 'base64').toString()));
    file('supervised.json', JSON.stringify(reviewOf(LAST_CASE, pod)));
    expect(await send('supervised.json', validation)).toMatchObject({ allowed: true });
    file('changed.json', JSON.stringify(reviewOf(LAST_CASE, pod)).replaceAll('castellan:1', 'evil:1'));
    expect((await send('changed.json', validation)).status?.message).toMatch(
      /image of container castellan-install/,
    );
    await said('refused (manifest_invalid)');
  });

  it('is gone when its grace is over', async () => {
    const { child, said } = await start(CONFIGURED, ['--grace', '0']);
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    await said('is stopping');
    expect((await ended)[0]).toBe(0);
  });

  it('takes no client without a certificate where one is asked for', async () => {
    const client = authority.issue('kube-apiserver');
    const { url } = await start(CONFIGURED, ['--client-ca', authority.path]);
    await expect(curl(url)).rejects.toThrow(/certificate required|alert/);
    const shown = ['--cert', file('client.crt', client.cert), '--key', file('client.key', client.key)];
    expect((await curl(url, ...shown)).allowed).toBe(true);
  });

  it.each([
    ['no configuration', '', [], /needs "version: 1"/, 118],
    [
      'a mistyped key',
      `${CONFIGURED}topolgy: sidecar\n`,
      [],
      /webhook.yaml:5:1: unknown key "topolgy".*did you mean "topology"/,
      118,
    ],
    [
      'a uid that is root',
      'version: 1\nimage: x\nsandbox_uid: 0\n',
      [],
      /webhook.yaml:3:14: sandbox_uid must be/,
      118,
    ],
    [
      'another’s key',
      CONFIGURED,
      ['--client-ca', '/nonexistent'],
      /authority of clients \/nonexistent cannot be read/,
      100,
    ],
    ['no port', CONFIGURED, ['--listen', '127.0.0.1'], /given twice/, 100],
  ])('says what is wrong with %s', async (_name, configuration, options, message, code) => {
    const { child, lines } = await start(configuration, options);
    if (child.exitCode === null) await once(child, 'exit');
    expect([child.exitCode, lines.join('\n')]).toEqual([code, expect.stringMatching(message)]);
    expect(lines).toHaveLength(1);
  });

  it('refuses pods where nobody says whom agents run as, and no service account is there to ask with', async () => {
    const { url, lines, said } = await start(OPEN, [], { KUBERNETES_SERVICE_HOST: '127.0.0.1' });
    expect((await curl(url)).allowed).toBe(false);
    await said('refused');
    expect(lines.join('\n')).toMatch(
      /refused \(namespace_unavailable\): .*\/serviceaccount\/.* cannot be read/,
    );
  });
});

describe.skipIf(!isRoot)('in a cluster (needs root to mount a service account where kubelets do)', () => {
  it('asks the API server whom the agents of a namespace run as', async () => {
    await using api = await startApiServer(pair);
    api.namespaces.set('agents', { 'openshift.io/sa.scc.uid-range': '1000680000/10000' });
    file('token', api.token);
    const place = '/run/secrets/kubernetes.io/serviceaccount';
    const mounted = `mount -t tmpfs none /run && mkdir -p ${place} && cp "$1" ${place}/ca.crt && cp "$2" ${place}/token && shift 2 && exec "$@"`;
    const { url } = await start(
      OPEN,
      [],
      { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(api.port) },
      ['unshare', '--mount', '/bin/sh', '-euc', mounted, 'sh', authority.path, file('token')],
    );
    const { allowed, patch = '' } = await curl(url);
    expect([allowed, Buffer.from(patch, 'base64').toString()]).toEqual([
      true,
      expect.stringContaining('"1000680000 (openshift.io/sa.scc.uid-range)"'),
    ]);
    expect(api.asked).toEqual(['/api/v1/namespaces/agents']);
  });
});

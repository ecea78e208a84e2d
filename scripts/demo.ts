/**
 * The main job on real input: a script as the agent in a real sandbox, beside an origin on this machine, then an OpenSSH
 * session into the same sandbox, then what the audit log says about both. Exits 1 when anything came out other than it should.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CASTELLAN, createWorld, type World } from '../test/fakes/world.ts';

const colours = process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined;
const paint = (code: number, text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
const heading = (text: string) => console.log(`\n${paint(1, text)}`);

const root = process.getuid?.() === 0;
const SANDBOX_UID = 20_001;
const NAME = `demo-${process.pid}`;
let unexpected = 0;

function outcome(label: string, expected: string, actual: string, detail: string): void {
  const right = expected === actual;
  if (!right) unexpected += 1;
  const mark = right ? paint(32, '✓') : paint(31, '✗');
  const verdict =
    expected !== 'ok' && expected !== 'refused'
      ? ''.padEnd('refused'.length)
      : actual === 'ok'
        ? paint(32, 'allowed')
        : paint(33, 'refused');
  console.log(`  ${mark} ${label.padEnd(52)} ${verdict}  ${paint(2, detail)}`);
  if (!right) console.log(`    expected ${expected}`);
}

function prepare(world: World) {
  const work = join(world.directory, 'work');
  mkdirSync(work);
  if (root) chownSync(work, SANDBOX_UID, SANDBOX_UID);
  writeFileSync(join(work, 'notes.txt'), 'the agent may read this\n');
  const secret = join(world.directory, 'secret.txt');
  // Everyone may read it as far as file modes go: what refuses is Landlock.
  writeFileSync(secret, 'the agent may not read this\n');
  chmodSync(secret, 0o644);
  const agent = join(work, 'agent.sh');
  copyFileSync(join(import.meta.dirname, 'demo-agent.sh'), agent);
  chmodSync(agent, 0o755);
  copyFileSync(join(world.directory, 'ca.crt'), join(work, 'ca.crt'));
  const policy = join(world.directory, 'policy.yaml');
  const runAs = root ? `process: { run_as_user: "${SANDBOX_UID}" }\n` : '';
  writeFileSync(
    policy,
    `version: 1
filesystem_policy:
  include_workdir: true
  read_write: [${work}]
${runAs}network_policies:
  demo:
    endpoints:
      - { host: allowed.demo.test, ports: [8443, 8080], allowed_ips: [10.77.0.0/24] }
    binaries: [{ path: /usr/bin/curl }]
  reading:
    endpoints:
      - { host: other.demo.test, port: 8443, allowed_ips: [10.77.0.0/24], protocol: rest, enforcement: enforce, access: read-only }
    binaries: [{ path: /usr/bin/curl }]
`,
  );
  return { work, secret, agent, policy };
}

async function main(): Promise<void> {
  await using world = await createWorld();
  const { work, secret, agent, policy } = prepare(world);
  heading(
    `castellan run --policy policy.yaml -- ./agent.sh   (as ${root ? 'root' : `uid ${process.getuid?.()}, rootless`})`,
  );
  console.log(paint(2, readFileSync(policy, 'utf8').replaceAll(/^/gm, '    ').trimEnd()));
  const sandbox = world.spawn(
    [
      CASTELLAN,
      'run',
      '--name',
      NAME,
      '--policy',
      policy,
      '--workdir',
      work,
      '--quiet',
      '--',
      agent,
      work,
      secret,
      join(work, 'ca.crt'),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'], env: environment() },
  );
  const ended = once(sandbox, 'exit');
  heading('What the agent tried');
  await readAttempts(sandbox);
  if (sandbox.exitCode === null) {
    heading('What a person sees: castellan ssh');
    await trySsh(world);
    const list = await output(
      world.spawn([CASTELLAN, 'list', '--json'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: environment(),
      }),
    );
    const auditPath = (JSON.parse(list.text) as { name: string; auditPath: string }[]).find(
      ({ name }) => name === NAME,
    )?.auditPath;
    sandbox.stdin?.write('go\n');
    const [code] = await ended;
    outcome('the command ended and castellan gave its exit code', '0', String(code), `exit ${code}`);
    if (auditPath !== undefined) await showAudit(auditPath);
  } else unexpected += 1;
  console.log(
    unexpected === 0
      ? paint(32, '\nEverything came out as the policy says.')
      : paint(31, `\n${unexpected} outcomes were not as expected.`),
  );
}

async function readAttempts(sandbox: ChildProcess): Promise<void> {
  if (sandbox.stdout === null) throw new Error('no standard output');
  let attempts = 0;
  for await (const line of createInterface(sandbox.stdout)) {
    if (line === 'waiting') break;
    const [kind, label = '', expected = '', actual = '', detail = ''] = line.split('\t');
    if (kind !== 'attempt') continue;
    attempts += 1;
    outcome(label, expected, actual, detail);
  }
  if (attempts === 0) outcome('the agent ran', 'ok', 'refused', 'it made no attempt');
}

async function trySsh(world: World): Promise<void> {
  const ssh = (...command: string[]) =>
    output(
      world.spawn([CASTELLAN, 'ssh', '--sandbox', NAME, '--', ...command], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: environment(),
      }),
    );
  const who = await ssh('id -u; grep -c . /proc/self/status; cat notes.txt');
  outcome(
    'exec over SSH runs as the sandbox user',
    'ok',
    who.text.startsWith(`${root ? SANDBOX_UID : process.getuid?.()}\n`) ? 'ok' : 'refused',
    `uid ${who.text.split('\n')[0]}`,
  );
  const status = await ssh('exit 7');
  outcome('its exit status comes back', '7', String(status.code), `exit ${status.code}`);
  const confined = await ssh('curl --silent --show-error --fail https://forbidden.demo.test:8443/ 2>&1');
  outcome(
    'it is confined like the agent',
    'refused',
    confined.code === 0 ? 'ok' : 'refused',
    confined.text.trim().slice(0, 120),
  );
}

interface Event {
  readonly class_name: string;
  readonly action?: string;
  readonly message?: string;
  readonly status_detail?: string;
}

async function showAudit(path: string): Promise<void> {
  heading('What the audit log says');
  const events = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);
  const decisions = events.filter(({ action }) => action !== undefined);
  for (const word of ['Allowed', 'Denied']) {
    const lines = decisions
      .filter(({ action }) => action === word)
      .map(
        ({ class_name, message, status_detail }) =>
          `${class_name}: ${message ?? ''}${status_detail ? ` (${status_detail})` : ''}`,
      );
    console.log(`  ${paint(word === 'Allowed' ? 32 : 33, word)}`);
    for (const line of new Set(lines)) console.log(`    ${line.slice(0, 220)}`);
  }
  const verified = await output(spawn(CASTELLAN, ['audit', path], { stdio: ['ignore', 'pipe', 'inherit'] }));
  outcome('castellan audit verifies the hash chain', '0', String(verified.code), verified.text.trim());
  console.log(`\n  ${events.length} OCSF events: ${paint(1, path)}`);
}

async function output(child: ChildProcess): Promise<{ readonly code: number | null; readonly text: string }> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [code] = await once(child, 'close');
  return { code, text };
}

function environment(): NodeJS.ProcessEnv {
  const { HOME, PATH, TERM, XDG_RUNTIME_DIR, XDG_STATE_HOME } = process.env;
  return {
    PATH,
    ...(HOME && { HOME }),
    ...(TERM && { TERM }),
    ...(XDG_RUNTIME_DIR && { XDG_RUNTIME_DIR }),
    ...(XDG_STATE_HOME && { XDG_STATE_HOME }),
  };
}

await main();
process.exitCode = unexpected === 0 ? 0 : 1;

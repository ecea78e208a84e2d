/** Runs of castellan in a test world, as root and rootless, with their output and their audit log. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { CALLER_UID, CASTELLAN, createWorld, type World, type WorldOptions } from '../fakes/world.ts';

export { CALLER_UID } from '../fakes/world.ts';

/** Nobody's uid on any machine that runs the tests. */
export const AGENT_UID = 20_101;

/** In front of a command: without the proxy's variables. */
export const DIRECT =
  'env -u HTTPS_PROXY -u HTTP_PROXY -u ALL_PROXY -u https_proxy -u http_proxy -u all_proxy';

export const isRoot = process.getuid?.() === 0;

/** One world for the tests of a file, made before the first and taken down after the last; only root can make it. */
export function useWorld(options?: WorldOptions): () => World {
  let world: World | undefined;
  beforeAll(async () => {
    if (isRoot) world = await createWorld(options);
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
  });
  return () => {
    if (world === undefined) throw new Error('the test world takes root');
    return world;
  };
}

export const MODES = ['root', 'rootless'] as const;
/** With the process role alone, which has no namespaces and no proxy. */
export const ALL_MODES = [...MODES, 'process-only'] as const;
export type Mode = (typeof ALL_MODES)[number];

export interface Setup {
  readonly world: World;
  readonly mode: Mode;
  readonly directory: string;
  readonly work: string;
  readonly auditPath: string;
  readonly environment: NodeJS.ProcessEnv;
}

let count = 0;

/** Directories of one run: everything it writes lies below `directory`. */
export function prepare(world: World, mode: Mode): Setup {
  const directory = join(world.directory, `${mode}-${++count}`);
  const work = join(directory, 'work');
  for (const [name, permissions] of [
    ['.', 0o755],
    ['work', 0o755],
    ['rt', 0o700],
    ['log', 0o700],
  ] as const) {
    const path = join(directory, name);
    mkdirSync(path, { recursive: true, mode: permissions });
    if (mode !== 'root') chownSync(path, CALLER_UID, CALLER_UID);
  }
  if (mode === 'root') chownSync(work, AGENT_UID, AGENT_UID);
  return {
    world,
    mode,
    directory,
    work,
    auditPath: join(directory, 'log', 'audit.jsonl'),
    environment: {
      PATH: '/usr/bin:/bin',
      HOME: work,
      XDG_RUNTIME_DIR: join(directory, 'rt'),
      SECRET_OF_THE_CALLER: 'must not get in',
    },
  };
}

/** A policy with the given network rules; everything else is what most tests want. */
export function writePolicy(
  { directory, work, mode }: Setup,
  network = '',
  extra = '',
  readOnly: readonly string[] = [],
  readWrite: readonly string[] = [],
): string {
  const path = join(directory, 'policy.yaml');
  const runAs = mode === 'root' ? `process: { run_as_user: "${AGENT_UID}" }\n` : '';
  writeFileSync(
    path,
    `version: 1\nfilesystem_policy: { include_workdir: true, read_only: [${readOnly.join(', ')}], read_write: [${[work, ...readWrite].join(', ')}] }\n${runAs}${extra}${network}`,
  );
  return path;
}

export const ALLOW_CURL = `network_policies:
  test:
    endpoints: [{ host: allowed.demo.test, ports: [8443, 8080, 2525], allowed_ips: [10.77.0.0/24] }]
    binaries: [{ path: /usr/bin/curl }]
`;

export interface RunOptions {
  readonly policy: string;
  readonly name?: string;
  readonly options?: readonly string[];
  readonly stdin?: 'pipe' | 'ignore';
  readonly environment?: NodeJS.ProcessEnv;
  /** What castellan is started through: a program that becomes, or waits for, its last arguments. */
  readonly through?: readonly string[];
}

/** Starts `castellan run` in the world. */
export function run(
  setup: Setup,
  command: readonly string[],
  { policy, name, options = [], stdin = 'ignore', environment = {}, through = [] }: RunOptions,
): ChildProcess {
  const naming = name === undefined ? [] : ['--name', name];
  const argv = [
    ...through,
    CASTELLAN,
    'run',
    '--policy',
    policy,
    '--workdir',
    setup.work,
    '--audit-file',
    setup.auditPath,
    ...naming,
    ...(setup.mode === 'process-only' ? ['--roles', 'process'] : []),
    ...options,
    '--',
    ...command,
  ];
  return setup.world.spawn(argv, {
    stdio: [stdin, 'pipe', 'pipe'],
    env: { ...setup.environment, ...environment },
    ...who(setup),
  });
}

/** Any other verb, as the same user; `through` as for run(). */
export function castellan(
  setup: Setup,
  argv: readonly string[],
  stdin: 'pipe' | 'ignore' = 'ignore',
  through: readonly string[] = [],
): ChildProcess {
  return setup.world.spawn([...through, CASTELLAN, ...argv], {
    stdio: [stdin, 'pipe', 'pipe'],
    env: setup.environment,
    ...who(setup),
  });
}

function who({ mode }: Setup): { readonly asUid?: number } {
  return mode !== 'root' && process.getuid?.() === 0 ? { asUid: CALLER_UID } : {};
}

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function finish(child: ChildProcess): Promise<Result> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/** Resolves when the child has printed a line that contains `text` on its standard output. */
export async function untilPrinted(child: ChildProcess, text: string): Promise<void> {
  let seen = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes(text)) resolve();
    });
    child.once('close', (code) =>
      reject(new Error(`ended with ${code} before printing ${text}; printed ${seen}`)),
    );
  });
}

export interface AuditEvent {
  readonly class_uid: number;
  readonly activity_id: number;
  readonly type_uid: number;
  readonly action?: string;
  readonly message: string;
  readonly status_detail?: string;
  readonly severity_id: number;
  readonly dst_endpoint?: { readonly hostname?: string; readonly port?: number };
  readonly unmapped?: Readonly<Record<string, unknown>>;
  readonly [other: string]: unknown;
}

/** A line that is being written at this moment is not among them. */
export function auditEvents({ auditPath }: Pick<Setup, 'auditPath'>): AuditEvent[] {
  return readFileSync(auditPath, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

/** A real cell for tests of launches and sessions: own uid, Landlock, seccomp, a launcher; everything in one temporary directory. */
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditFact } from '../../src/audit/event.ts';
import { posix } from '../../src/kernel/posix.ts';
import type { Cell } from '../../src/launch/cell.ts';
import { landlockSpec } from '../../src/launch/landlock.ts';
import { createLauncher, type Launcher } from '../../src/launch/launch.ts';

export const isRoot = process.getuid?.() === 0;
export const AGENT_UID = 20_001;
export const LAUNCHER = join(import.meta.dirname, '../../build/castellan-launch');

const O_PATH = 0o10000000;
const READABLE = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib64',
  '/etc',
  '/proc',
  '/dev/null',
  '/dev/zero',
  '/dev/urandom',
  '/dev/fd',
  '/dev/ptmx',
];
const WRITABLE = ['/dev/null', '/dev/tty', '/dev/pts'];

export interface TestCell extends Disposable {
  readonly cell: Cell;
  readonly launcher: Launcher;
  /** Everything is below it; only root and the agent may pass. */
  readonly directory: string;
  /** The agent's own, and its working directory. */
  readonly work: string;
  readonly runDirectory: string;
  readonly facts: readonly AuditFact[];
  readonly report: (fact: AuditFact) => void;
  /** Resolves with the first fact of the kind that passes, past or future. */
  fact<Kind extends AuditFact['kind']>(
    kind: Kind,
    test?: (fact: FactOf<Kind>) => boolean,
  ): Promise<FactOf<Kind>>;
}
export type FactOf<Kind extends AuditFact['kind']> = Extract<AuditFact, { kind: Kind }>;

/** Needs root, because it changes identity. */
export function makeCell(change: Partial<Cell> = {}): TestCell {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-cell-'));
  chmodSync(directory, 0o711);
  const work = join(directory, 'work');
  mkdirSync(work);
  chownSync(work, AGENT_UID, AGENT_UID);
  const runDirectory = join(directory, 'run');
  mkdirSync(join(runDirectory, 'launch'), { recursive: true, mode: 0o700 });
  const { facts, report, fact } = factBook();
  const opened = [...READABLE.map(read), ...[...WRITABLE, work].map(write)].filter(
    (rule) => rule !== undefined,
  );
  const cell: Cell = {
    identity: {
      uid: AGENT_UID,
      gid: AGENT_UID,
      groups: [],
      user: String(AGENT_UID),
      home: work,
      shell: '/bin/bash',
      source: 'test',
    },
    changeCredentials: true,
    workingDirectory: work,
    cgroup: undefined,
    namespaces: { user: undefined, network: undefined },
    view: undefined,
    mounts: [{ kind: 'hide', path: runDirectory }],
    seccompRelax: [],
    landlock: landlockSpec(posix().landlockAbi(), opened),
    resourceLimits: [{ resource: 4, soft: 0n, hard: 0n }],
    environment: {},
    ...change,
  };
  return {
    cell,
    launcher: createLauncher({ launcherPath: LAUNCHER, runDirectory, report }),
    directory,
    work,
    runDirectory,
    facts,
    report,
    fact,
    [Symbol.dispose]() {
      for (const { descriptor } of opened) closeSync(descriptor);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function read(path: string) {
  return rule(path, 'read');
}

function write(path: string) {
  return rule(path, 'write');
}

function rule(path: string, access: 'read' | 'write') {
  if (!existsSync(path)) return undefined;
  return { descriptor: openSync(path, O_PATH), isDirectory: statSync(path).isDirectory(), access };
}

function factBook(): Pick<TestCell, 'facts' | 'report' | 'fact'> {
  const facts: AuditFact[] = [];
  const waiting = new Set<(fact: AuditFact) => void>();
  return {
    facts,
    report(fact) {
      facts.push(fact);
      for (const look of waiting) look(fact);
    },
    fact(kind, test = () => true) {
      type Wanted = FactOf<typeof kind>;
      const matches = (fact: AuditFact): fact is Wanted => fact.kind === kind && test(fact as Wanted);
      const known = facts.find(matches);
      if (known !== undefined) return Promise.resolve(known);
      return new Promise((resolve) => {
        const look = (fact: AuditFact) => {
          if (!matches(fact)) return;
          waiting.delete(look);
          resolve(fact);
        };
        waiting.add(look);
      });
    },
  };
}

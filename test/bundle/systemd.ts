/** A machine whose first process is this machine's systemd, in namespaces and a cgroup of its own, with the bundle at /opt/castellan. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownCgroup } from '../../src/kernel/cgroup.ts';
import { REPOSITORY } from '../fakes/world.ts';
import { BUNDLE } from './container.ts';

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SystemdMachine extends AsyncDisposable {
  /** Runs a shell script inside, as root, to its end. */
  sh(script: string): Result;
  spawn(script: string): ChildProcess;
}

/** A boot takes a second or two; a loaded machine may need far longer. */
const BOOT_DEADLINE_MS = 60_000;
const SCRIPT_DEADLINE_MS = 60_000;

const FILES: Readonly<Record<string, string>> = {
  passwd: 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n',
  group: 'root:x:0:\nnogroup:x:65534:\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
  'machine-id': 'b08dfa6083e7567a1921a715000001fb\n',
  hosts: '127.0.0.1 localhost\n',
  'resolv.conf': '',
};

/** Where README says that an administrator puts them, below /etc. */
const UNITS: Readonly<Record<string, string>> = {
  'castellan@.service': 'systemd/system/castellan@.service',
  'castellan@.socket': 'systemd/system/castellan@.socket',
  'sysusers.conf': 'sysusers.d/castellan.conf',
  'tmpfiles.conf': 'tmpfiles.d/castellan.conf',
};

export async function startSystemd(files: Readonly<Record<string, string>>): Promise<SystemdMachine> {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-systemd-'));
  const [root, etc] = [join(directory, 'root'), join(directory, 'etc')];
  for (const path of [
    root,
    ...['systemd/system', 'sysusers.d', 'tmpfiles.d', 'castellan'].map((name) => join(etc, name)),
  ])
    mkdirSync(path, { recursive: true });
  for (const name of ['os-release', 'ld.so.cache']) copyFileSync(join('/etc', name), join(etc, name));
  for (const [name, target] of Object.entries(UNITS))
    copyFileSync(join(REPOSITORY, 'systemd', name), join(etc, target));
  for (const [name, text] of Object.entries({ ...FILES, ...files })) writeFileSync(join(etc, name), text);
  const cgroup = makeCgroup();
  // The shell joins the cgroup first: it becomes the root of the machine's own hierarchy.
  const boot = join(import.meta.dirname, 'systemd-boot.sh');
  const namespaces = ['--mount', '--pid', '--cgroup', '--uts', '--ipc', '--net', '--fork', '--kill-child'];
  const join_ = 'echo 0 > "$0/cgroup.procs" && exec "$@"';
  const host = spawn(
    '/bin/sh',
    ['-c', join_, cgroup, 'unshare', ...namespaces, '/bin/sh', boot, root, BUNDLE, etc],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
  );
  const enter = (): string[] => {
    const [pid = ''] = readFileSync(`/proc/${host.pid}/task/${host.pid}/children`, 'utf8').split(' ');
    const into = ['--target', pid, '--mount', '--pid', '--cgroup', '--net', '--uts', '--ipc'];
    return [...into, '--', 'env', '-i', 'PATH=/usr/sbin:/usr/bin', '/bin/sh', '-c'];
  };
  const machine: SystemdMachine = {
    sh(script) {
      const options = { encoding: 'utf8', timeout: SCRIPT_DEADLINE_MS } as const;
      const { status, stdout, stderr } = spawnSync('nsenter', [...enter(), script], options);
      return { code: status, stdout, stderr };
    },
    spawn: (script) => spawn('nsenter', [...enter(), script], { stdio: ['ignore', 'pipe', 'pipe'] }),
    async [Symbol.asyncDispose]() {
      if (host.exitCode === null && host.signalCode === null) {
        host.kill('SIGKILL');
        await once(host, 'exit');
      }
      removeCgroup(cgroup);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  try {
    await untilBooted(machine, host);
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
  return machine;
}

async function untilBooted(machine: SystemdMachine, host: ChildProcess): Promise<void> {
  const deadline = performance.now() + BOOT_DEADLINE_MS;
  let said = '';
  while (performance.now() < deadline && host.exitCode === null) {
    try {
      // Waits by itself, once there is somebody to ask.
      said = machine.sh('systemctl is-system-running --wait').stdout.trim();
    } catch {
      said = 'the machine has no first process';
    }
    if (said === 'running') return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { stdout } = machine.sh('systemctl --failed --no-pager; journalctl --no-pager -p warning');
  throw new Error(`systemd did not come up: ${said}\n${stdout}`);
}

function makeCgroup(): string {
  const [mountinfo, membership] = ['mountinfo', 'cgroup'].map((name) =>
    readFileSync(`/proc/self/${name}`, 'utf8'),
  );
  const own = ownCgroup(mountinfo ?? '', membership ?? '');
  if (own === undefined) throw new Error('no cgroup v2 hierarchy is mounted here');
  const cgroup = join(own, `castellan-systemd-${process.pid}`);
  mkdirSync(cgroup);
  return cgroup;
}

/** Everybody in it has been killed, and may take a moment to be gone. */
function removeCgroup(path: string): void {
  writeFileSync(join(path, 'cgroup.kill'), '1');
  execFileSync(
    '/bin/sh',
    ['-c', 'while grep -q "populated 1" "$0/cgroup.events"; do sleep 0.05; done', path],
    {
      timeout: SCRIPT_DEADLINE_MS,
    },
  );
  removeTree(path);
}

function removeTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  rmdirSync(path);
}

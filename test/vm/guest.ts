/**
 * A guest machine of its own kernel, for what this machine's kernel cannot show: Debian's cloud kernel under software emulation, its
 * root file system in memory, with castellan, the programs it needs and one script. Everything is made below build/vm.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { unpackPackage } from '../fakes/debian-package.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const PLACE = join(REPOSITORY, 'build/vm');
const INSTALLED = '/opt/castellan';
// One thread, one CPU: with several, V8's code that writes itself has crashed in the emulator.
/** Holds the root file system twice while it is unpacked. */
const MEMORY_MIB = 2048;

const PROGRAMS = [
  ...[
    'bash',
    'cat',
    'chmod',
    'chown',
    'env',
    'grep',
    'head',
    'id',
    'kmod',
    'ls',
    'mkdir',
    'mount',
    'rm',
    'seq',
  ],
  ...['setpriv', 'sleep', 'stat', 'tail', 'true', 'uname', 'ip', 'nft', 'setsid', 'touch', 'wc'],
];
const MODULE_DIRECTORIES = ['kernel/net', 'kernel/drivers/net/veth.ko', 'kernel/lib'];

export interface GuestOptions {
  /** Programs besides, by their names. */
  readonly programs?: readonly string[];
  /** Adds what the guest needs besides, below the directory that will be its root. */
  readonly furnish?: (root: string) => void;
}

/** Boots, runs `script` by bash as root, and gives what the machine wrote on its console. */
export async function runGuest(
  script: string,
  deadlineMs: number,
  { programs = [], furnish }: GuestOptions = {},
): Promise<string> {
  mkdirSync(PLACE, { recursive: true });
  const { kernel, modules, release } = fetchKernel();
  const root = join(PLACE, 'root');
  rmSync(root, { recursive: true, force: true });
  layOutSystem(root, [...PROGRAMS, ...programs]);
  copyModules(root, modules, release);
  copyCastellan(root);
  writeFileSync(join(root, 'script'), script);
  copyFileSync(join(import.meta.dirname, 'init.sh'), join(root, 'init'));
  chmodSync(join(root, 'init'), 0o755);
  furnish?.(root);
  const image = join(PLACE, 'initrd.cpio');
  execFileSync('/bin/sh', ['-c', 'find . | cpio --quiet -o -H newc -R 0:0 > "$0"', image], { cwd: root });
  rmSync(root, { recursive: true });
  return boot(kernel, image, deadlineMs);
}

interface Kernel {
  readonly kernel: string;
  readonly modules: string;
  readonly release: string;
}

/** This machine keeps its own. */
function fetchKernel(): Kernel {
  const depends = execFileSync('apt-cache', ['depends', 'linux-image-cloud-amd64'], { encoding: 'utf8' });
  const unpacked = unpackPackage(/Depends: (linux-image-\S+)/.exec(depends)?.[1] ?? '');
  const [release = ''] = readdirSync(join(unpacked, 'lib/modules'));
  return {
    kernel: join(unpacked, `boot/vmlinuz-${release}`),
    modules: join(unpacked, 'lib/modules', release),
    release,
  };
}

function layOutSystem(root: string, programs: readonly string[]): void {
  for (const directory of [
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
    'etc',
    'proc',
    'sys',
    'dev',
    'run',
    'tmp',
    'var/log',
    'work',
    'home',
  ])
    mkdirSync(join(root, directory), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
  for (const name of programs) copyProgram(root, which(name));
  symlinkSync('bash', join(root, 'usr/bin/sh'));
  for (const name of ['modprobe', 'depmod']) symlinkSync('../bin/kmod', join(root, 'usr/sbin', name));
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0::/:/bin/bash\nagent:x:1500:1500::/work:/bin/bash\ncaller:x:1600:1600::/home:/bin/bash\n',
  );
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nagent:x:1500:\ncaller:x:1600:\n');
  writeFileSync(join(root, 'etc/resolv.conf'), '');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
}

function which(name: string): string {
  for (const directory of ['/usr/bin', '/usr/sbin', '/bin', '/sbin'])
    if (existsSync(join(directory, name))) return join(directory, name);
  throw new Error(`${name} is not installed`);
}

/** With the libraries it is linked to. */
export function copyProgram(root: string, path: string, as = path): void {
  copyInto(root, realpathSync(path), as);
  for (const library of librariesOf(path)) copyInto(root, realpathSync(library), library);
}

function librariesOf(path: string): string[] {
  try {
    const text = execFileSync('ldd', [path], { encoding: 'utf8', stdio: 'pipe' });
    return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
  } catch {
    return []; // static
  }
}

function copyInto(root: string, from: string, to: string): void {
  const target = join(root, to);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(from, target);
}

function copyModules(root: string, modules: string, release: string): void {
  const target = join(root, 'usr/lib/modules', release);
  for (const directory of MODULE_DIRECTORIES)
    if (existsSync(join(modules, directory)))
      cpSync(join(modules, directory), join(target, directory), { recursive: true });
  for (const name of readdirSync(modules).filter((file) => file.startsWith('modules.')))
    copyFileSync(join(modules, name), join(target, name));
  execFileSync('depmod', ['-b', join(root, 'usr'), release]);
}

/** What a run needs of the tree: the sources, the native parts, Node and the packages that are no tools of development. */
function copyCastellan(root: string): void {
  const target = join(root, INSTALLED);
  cpSync(join(REPOSITORY, 'src'), join(target, 'src'), { recursive: true });
  copyFileSync(join(REPOSITORY, 'package.json'), join(target, 'package.json'));
  const build = join(REPOSITORY, 'build');
  mkdirSync(join(target, 'build/bin'), { recursive: true });
  copyFileSync(join(build, 'bin/castellan'), join(target, 'build/bin/castellan'));
  for (const name of readdirSync(build).filter((file) => /^castellan-|\.node$|^seccomp\.table$/.test(file)))
    copyProgram(root, join(build, name), join(INSTALLED, 'build', name));
  const lock: { readonly packages: Readonly<Record<string, { readonly dev?: boolean }>> } = JSON.parse(
    readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8'),
  );
  for (const [path, { dev = false }] of Object.entries(lock.packages))
    if (path !== '' && !dev && existsSync(join(REPOSITORY, path)))
      cpSync(join(REPOSITORY, path), join(target, path), { recursive: true, filter: isNeeded });
  for (const library of librariesOf(process.execPath)) copyInto(root, realpathSync(library), library);
}

/** Node brings its headers, and native packages their object files. */
function isNeeded(path: string): boolean {
  return (
    !/\/(?:node-linux-\w+\/(?:include|share|lib)|obj\.target|deps)(?:\/|$)/.test(path) &&
    basename(path) !== 'CHANGELOG.md'
  );
}

async function boot(kernel: string, image: string, deadlineMs: number): Promise<string> {
  const machine: ChildProcess = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-accel',
        'tcg,thread=single',
        '-smp',
        '1',
        '-m',
        String(MEMORY_MIB),
        '-nographic',
        '-no-reboot',
        '-net',
        'none',
      ],
      ...['-kernel', kernel, '-initrd', image, '-append', 'console=ttyS0 quiet panic=-1 rdinit=/init'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const timer = setTimeout(() => machine.kill('SIGKILL'), deadlineMs);
  let text = '';
  machine.stdout?.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  machine.stderr?.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(machine, 'close');
  clearTimeout(timer);
  writeFileSync(join(PLACE, 'console.log'), text);
  return text.replaceAll('\r', '');
}

/** A machine of its own kernel under software emulation, with a root file system in memory that begins with init.sh. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '../..');
/** Everything that guests are made of and leave behind. */
export const PLACE = join(REPOSITORY, 'build/vm');
/** Holds the root file system twice while it is unpacked. */
const MEMORY_MIB = 2048;
const MODULE_DIRECTORIES = ['kernel/net', 'kernel/drivers/net/veth.ko', 'kernel/lib'];

export interface Kernel {
  readonly kernel: string;
  readonly modules: string;
  readonly release: string;
}

export interface Emulator {
  readonly program: string;
  readonly options: readonly string[];
  /** The device that its serial port is. */
  readonly console: string;
}

/** Of a kernel's package, unpacked and not installed: this machine keeps its own. */
export function kernelBelow(root: string): Kernel {
  const [release = ''] = readdirSync(join(root, 'lib/modules'));
  return {
    kernel: join(root, `boot/vmlinuz-${release}`),
    modules: join(root, 'lib/modules', release),
    release,
  };
}

/** The modules that a run may ask for, into the root file system at `root`, whose own `lib` is `lib` below it. */
export function copyModules(root: string, lib: string, { modules, release }: Kernel): void {
  const target = join(root, lib, 'modules', release);
  for (const directory of MODULE_DIRECTORIES)
    if (existsSync(join(modules, directory)))
      cpSync(join(modules, directory), join(target, directory), { recursive: true });
  for (const name of readdirSync(modules).filter((file) => file.startsWith('modules.')))
    copyFileSync(join(modules, name), join(target, name));
  execFileSync('depmod', ['-b', join(root, dirname(lib)), release]);
}

export interface Boot {
  readonly kernel: Kernel;
  readonly emulator: Emulator;
  readonly deadlineMs: number;
  /** Has the last word on what is in the root file system. */
  readonly furnish?: ((root: string) => void) | undefined;
}

/** Boots with the files at `root`, which go away, runs `script` by its shell as root, and gives what the machine wrote on its console. */
export async function bootWith(
  root: string,
  script: string,
  { kernel, emulator, deadlineMs, furnish }: Boot,
): Promise<string> {
  writeFileSync(join(root, 'script'), script);
  copyFileSync(join(import.meta.dirname, 'init.sh'), join(root, 'init'));
  chmodSync(join(root, 'init'), 0o755);
  furnish?.(root);
  const image = `${root}.cpio`;
  execFileSync('/bin/sh', ['-c', 'find . | cpio --quiet -o -H newc -R 0:0 > "$0"', image], { cwd: root });
  rmSync(root, { recursive: true });
  return await boot(kernel.kernel, image, emulator, deadlineMs);
}

/** An empty directory for a root file system, with those that every one has. */
export function makeRoot(name: string, directories: readonly string[]): string {
  const root = join(PLACE, name);
  rmSync(root, { recursive: true, force: true });
  for (const directory of [
    'etc',
    'proc',
    'sys',
    'dev',
    'run',
    'tmp',
    'var/log',
    'work',
    'home',
    ...directories,
  ])
    mkdirSync(join(root, directory), { recursive: true });
  writeFileSync(join(root, 'etc/resolv.conf'), '');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0::/:/bin/sh\nagent:x:1500:1500::/work:/bin/sh\ncaller:x:1600:1600::/home:/bin/sh\n',
  );
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nagent:x:1500:\ncaller:x:1600:\n');
  return root;
}

/** What a script wrote under each of its lines `== NAME`; the last is `end`. */
export function sectionsOf(console: string): ReadonlyMap<string, string> {
  const sections = new Map(
    console.split(/^== /m).map((part): [string, string] => {
      const end = part.indexOf('\n');
      return [part.slice(0, end), part.slice(end + 1)];
    }),
  );
  if (!sections.has('end')) throw new Error(`the guest did not come to its end:\n${console.slice(-8000)}`);
  return sections;
}

// One thread, one CPU: with several, V8's code that writes itself has crashed in the emulator.
async function boot(kernel: string, image: string, emulator: Emulator, deadlineMs: number): Promise<string> {
  const machine: ChildProcess = spawn(
    emulator.program,
    [
      ...[...emulator.options, '-accel', 'tcg,thread=single', '-smp', '1', '-m', String(MEMORY_MIB)],
      ...['-nographic', '-no-reboot', '-net', 'none', '-kernel', kernel, '-initrd', image],
      ...['-append', `console=${emulator.console} quiet panic=-1 rdinit=/init`],
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
  writeFileSync(`${image}.log`, text);
  return text.replaceAll('\r', '');
}

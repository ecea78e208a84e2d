/**
 * A guest of another architecture with the bundle that was cross-built for it, in an image that is hostile: Debian's kernel and busybox,
 * an OpenSSH client with its libraries, and a library that whatever is not sealed loads and that says so.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { unpackPackages } from '../../scripts/bundle/debian.ts';
import { librariesOf } from '../../scripts/bundle/system.ts';
import { BUNDLE_ARM64 } from '../bundle/container.ts';
import { EVIL, EVIL_PLACES } from '../bundle/images.ts';
import { bootWith, copyModules, kernelBelow, makeRoot, PLACE } from './machine.ts';

const PACKAGES = ['linux-image-cloud-arm64', 'busybox-static', 'openssh-client'];
const APPLETS = [
  ...['cat', 'chmod', 'chown', 'env', 'grep', 'httpd', 'id', 'ip', 'ls', 'mkdir', 'modprobe', 'mount'],
  ...['nslookup', 'sh', 'sleep', 'su', 'touch', 'true', 'tty', 'uname', 'unshare', 'wget'],
];
const COMPILER = 'aarch64-linux-gnu-gcc';
const LIBRARIES = 'usr/lib/aarch64-linux-gnu';

/** Boots, runs `script` by the shell as root, and gives what the machine wrote on its console. */
export async function runArm64Guest(
  { script, systemCalls }: { readonly script: string; readonly systemCalls: string },
  deadlineMs: number,
): Promise<string> {
  const debian = unpackPackages(join(PLACE, 'arm64'), 'arm64', PACKAGES);
  const kernel = kernelBelow(debian.root);
  const root = makeRoot('arm64-root', ['bin', 'sbin', 'usr/bin', LIBRARIES, 'opt']);
  copyFileSync(join(debian.root, 'bin/busybox'), join(root, 'bin/busybox'));
  for (const name of APPLETS) symlinkSync('busybox', join(root, 'bin', name));
  // Where the kernel asks for modules.
  symlinkSync('../bin/busybox', join(root, 'sbin/modprobe'));
  symlinkSync('usr/lib', join(root, 'lib'));
  copyModules(root, 'usr/lib', kernel);
  cpSync(BUNDLE_ARM64, join(root, 'opt/castellan'), { recursive: true });
  const client = join(debian.root, 'usr/bin/ssh');
  copyFileSync(client, join(root, 'usr/bin/ssh'));
  for (const library of librariesOf([client], { architecture: 'arm64', debian }))
    copyFileSync(library, join(root, library.includes('/ld-linux') ? 'lib' : LIBRARIES, basename(library)));
  compileSystemCalls(systemCalls, join(root, 'bin/system-calls'));
  makeHostile(root);
  const emulator = {
    program: 'qemu-system-aarch64',
    options: ['-M', 'virt', '-cpu', 'cortex-a72'],
    console: 'ttyAMA0',
  };
  return await bootWith(root, script, { kernel, emulator, deadlineMs });
}

/** `header` is what callsHeader() gives. */
function compileSystemCalls(header: string, program: string): void {
  const directory = join(PLACE, 'arm64-system-calls');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'calls.h'), header);
  const source = join(import.meta.dirname, '../native/system-calls.c');
  execFileSync(COMPILER, ['-static', '-Wall', '-Werror', `-I${directory}`, source, '-o', program]);
}

function makeHostile(root: string): void {
  const source = join(PLACE, 'evil.c');
  writeFileSync(source, EVIL);
  execFileSync(COMPILER, ['-shared', '-fPIC', '-o', join(root, 'lib/evil.so'), source]);
  for (const place of EVIL_PLACES('aarch64-linux-gnu')) {
    mkdirSync(dirname(join(root, place)), { recursive: true });
    copyFileSync(join(root, 'lib/evil.so'), join(root, place));
  }
  writeFileSync(join(root, 'etc/ld.so.preload'), '/lib/evil.so\n');
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: evil files dns\npasswd: evil files\n');
}

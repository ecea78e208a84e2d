/** What a bundle takes from this machine: Node, `ip`, `nft`, the loader and every library that any of them needs. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { sealLoader } from './seal-loader.ts';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
}

/** Programs by the name they have in a bundle. */
const PROGRAMS = { ip: '/usr/sbin/ip', nft: '/usr/sbin/nft' } as const;

const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Copies into lib/, libexec/ and share/; gives the Debian packages that the files came from. */
export function bundleSystem(repository: string, node: string, bundle: string): readonly DebianPackage[] {
  for (const directory of ['bin', 'libexec', 'lib/programs', 'share'])
    mkdirSync(join(bundle, directory), { recursive: true });
  const build = (name: string): string => join(repository, 'build', name);
  for (const name of ['castellan', 'openshell-sandbox'])
    copyFileSync(build('bundle/castellan'), join(bundle, 'bin', name));
  for (const name of ['castellan-launch', 'castellan-netns'])
    copyFileSync(build(name), join(bundle, 'libexec', name));
  for (const name of ['node', ...Object.keys(PROGRAMS)])
    copyFileSync(build('bundle/run'), join(bundle, 'libexec', name));
  copyFileSync(build('seccomp.table'), join(bundle, 'share/seccomp.table'));
  copyFileSync(CERTIFICATES, join(bundle, 'share/ca-certificates.crt'));

  const programs = join(bundle, 'lib/programs');
  // Its symbols serve a debugger, and are a sixth of the whole.
  execFileSync('strip', ['-o', join(programs, 'node'), node]);
  for (const [name, path] of Object.entries(PROGRAMS)) copyFileSync(path, join(programs, name));
  const addons = ['posix', 'pty', 'sshcrypto'].map((name) => join(bundle, 'native', `${name}.node`));
  const libraries = librariesOf([node, ...Object.values(PROGRAMS), ...addons]);
  for (const path of libraries)
    if (isLoader(path)) writeFileSync(join(bundle, 'lib/ld.so'), sealLoader(readFileSync(path)));
    else copyFileSync(path, join(bundle, 'lib', basename(path)));
  return packagesOf([...Object.values(PROGRAMS), ...libraries]);
}

/** Absolute paths, by the loader's own word: ld.so(8), --list. */
function librariesOf(files: readonly string[]): readonly string[] {
  const found = new Set<string>();
  for (const file of files)
    for (const [, arrow, direct] of execFileSync('ldd', [file], { encoding: 'utf8' }).matchAll(
      /^\t(?:\S+ => (\/\S+)|(\/\S+)) \(0x/gm,
    ))
      found.add(arrow ?? direct ?? '');
  return [...found].sort();
}

const isLoader = (path: string): boolean => /^ld-linux/.test(basename(path));

/** By dpkg's list, and the certificates' own, which no package brought as a file; another file that no package brought is not one that a bundle should hold. */
function packagesOf(files: readonly string[]): readonly DebianPackage[] {
  const names = new Set([...files.map(ownerOf), 'ca-certificates']);
  return [...names].sort().map((name) => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own format.
    const format = ['-W', '-f', '${Version}', name];
    return {
      name: name.replace(/:.*/, ''),
      version: execFileSync('dpkg-query', format, { encoding: 'utf8' }),
    };
  });
}

/** dpkg knows files by the path they were unpacked to, which merged directories have two of. */
function ownerOf(file: string): string {
  for (const path of new Set([realpathSync(file), file, file.replace(/^\/usr/, ''), `/usr${file}`]))
    try {
      return (
        execFileSync('dpkg-query', ['-S', path], { encoding: 'utf8', stdio: 'pipe' }).split(/: /)[0] ?? ''
      );
    } catch {
      // Another spelling may be the one.
    }
  throw new Error(`no Debian package has brought ${file}`);
}

/** What a bundle takes from a system: Node, `ip`, `nft`, the loader and every library that any of them needs. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type DebianPackage, installedPackage } from './debian.ts';
import { ELF_MACHINES, readElf } from './elf.ts';
import { sealInterpreter, sealLoader } from './seal-loader.ts';
import { ARCHITECTURES, type Target } from './target.ts';

/** Programs by the name they have in a bundle; where they are on an installed system. */
const PROGRAMS = { ip: 'bin/ip', nft: 'usr/sbin/nft' } as const;

/** Of this machine whatever the target: they are the same for all. */
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Copies into lib/, libexec/ and share/; gives the Debian packages that the files came from. */
export function bundleSystem(repository: string, bundle: string, target: Target): readonly DebianPackage[] {
  const { native, debian, addons } = target;
  for (const directory of ['bin', 'libexec', 'lib/programs', 'share'])
    mkdirSync(join(bundle, directory), { recursive: true });
  for (const name of ['castellan', 'openshell-sandbox'])
    copyFileSync(join(native, 'bundle/castellan'), join(bundle, 'bin', name));
  for (const name of ['castellan-launch', 'castellan-netns'])
    copyFileSync(join(native, name), join(bundle, 'libexec', name));
  for (const name of ['node', ...Object.keys(PROGRAMS)])
    copyFileSync(join(native, 'bundle/run'), join(bundle, 'libexec', name));
  copyFileSync(join(native, 'seccomp.table'), join(bundle, 'share/seccomp.table'));
  copyFileSync(CERTIFICATES, join(bundle, 'share/ca-certificates.crt'));

  const programs = join(bundle, 'lib/programs');
  const node = join(repository, target.nodePackage, 'bin/node');
  // Its symbols serve a debugger, and are a sixth of the whole.
  const stripped = join(programs, 'node');
  execFileSync(target.strip, ['-o', stripped, node]);
  putSealed(stripped, stripped);
  const tools = Object.entries(PROGRAMS).map(([name, path]) => [name, join(debian.root, path)] as const);
  for (const [name, path] of tools) putSealed(path, join(programs, name));
  const toolPaths = tools.map(([, path]) => path);
  const libraries = librariesOf([node, ...toolPaths, ...Object.values(addons)], target);
  for (const path of libraries)
    if (isLoader(path)) writeFileSync(join(bundle, 'lib/ld.so'), sealLoader(readFileSync(path)));
    else putSealed(path, join(bundle, 'lib', basename(path)));
  const owners = [...[...toolPaths, ...libraries].map(debian.ownerOf), installedPackage('ca-certificates')];
  return [...new Map(owners.map((owner) => [owner.name, owner])).values()].sort((one, other) =>
    one.name < other.name ? -1 : 1,
  );
}

function putSealed(from: string, to: string): void {
  writeFileSync(to, sealInterpreter(readFileSync(from)));
}

/** Absolute paths of all that `files` need, and of what those need. */
export function librariesOf(
  files: readonly string[],
  { architecture, debian: { root } }: Pick<Target, 'architecture' | 'debian'>,
): readonly string[] {
  const { triplet } = ARCHITECTURES[architecture];
  const directories = [`lib/${triplet}`, `usr/lib/${triplet}`, 'lib', 'lib64'].map((place) =>
    join(root, place),
  );
  const found = new Map<string, string>();
  const waiting = [...files];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    const { machine, needed } = readElf(readFileSync(file));
    if (machine !== ELF_MACHINES[architecture]) throw new Error(`${file} is for another machine`);
    for (const name of needed.filter((each) => !found.has(each))) {
      const path = directories.map((place) => join(place, name)).find(existsSync);
      if (path === undefined) throw new Error(`${name}, which ${file} needs, is not there`);
      found.set(name, path);
      waiting.push(path);
    }
  }
  return [...found.values()].sort();
}

const isLoader = (path: string): boolean => /^ld-linux/.test(basename(path));

/** Files of Debian packages, and which package each came from: those that are installed here, or those of another architecture, unpacked. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** Absolute path of its licences. */
  readonly copyright: string;
}

export interface DebianSystem {
  /** What `/` is to its files. */
  readonly root: string;
  /** @throws Error for a file that no package has brought: it is not one that a bundle should hold */
  ownerOf(file: string): DebianPackage;
}

export const INSTALLED: DebianSystem = {
  root: '/',
  /** dpkg knows files by the path they were unpacked to, which merged directories have two of. */
  ownerOf(file) {
    for (const path of new Set([realpathSync(file), file, file.replace(/^\/usr/, ''), `/usr${file}`]))
      try {
        const found = execFileSync('dpkg-query', ['-S', path], { encoding: 'utf8', stdio: 'pipe' });
        return installedPackage(found.split(/: /)[0] ?? '');
      } catch {
        // Another spelling may be the one.
      }
    throw new Error(`no Debian package has brought ${file}`);
  },
};

/** `name` may have an architecture behind a colon. */
export function installedPackage(name: string): DebianPackage {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own format.
  const version = execFileSync('dpkg-query', ['-W', '-f', '${Version}', name], { encoding: 'utf8' });
  return describe('/', name.replace(/:.*/, ''), version);
}

function describe(root: string, name: string, version: string): DebianPackage {
  return { name, version, copyright: join(root, 'usr/share/doc', name, 'copyright') };
}

/**
 * Downloads packages of `architecture` with all that they depend on, and unpacks them below `directory`. apt has its state there, so this
 * machine neither gains an architecture nor a package; what it trusts is Debian's key alone, whatever the machine trusts besides.
 */
export function unpackPackages(
  directory: string,
  architecture: string,
  names: readonly string[],
): DebianSystem {
  const apt = aptOf(join(directory, 'apt'), architecture);
  apt.run('update', '-qq');
  apt.run('install', '-qq', '--yes', '--download-only', '--no-install-recommends', ...names);
  rmSync(join(directory, 'root'), { recursive: true, force: true });
  mkdirSync(join(directory, 'root'));
  const root = realpathSync(join(directory, 'root'));
  const owners = new Map<string, DebianPackage>();
  for (const archive of apt.archives()) {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own format.
    const format = ['-W', '--showformat=${Package} ${Version}', archive];
    const [name = '', version = ''] = execFileSync('dpkg-deb', format, { encoding: 'utf8' }).split(' ');
    // Unpacks, and lists what it has unpacked.
    const listed = execFileSync('dpkg-deb', ['-X', archive, root], { encoding: 'utf8' });
    for (const path of listed.split('\n')) owners.set(join(root, path), describe(root, name, version));
  }
  return {
    root,
    ownerOf(file) {
      const owner = owners.get(file) ?? owners.get(realpathSync(file));
      if (owner === undefined) throw new Error(`no Debian package has brought ${file}`);
      return owner;
    },
  };
}

interface Apt {
  run(...args: readonly string[]): void;
  archives(): readonly string[];
}

function aptOf(directory: string, architecture: string): Apt {
  const archives = join(directory, 'cache/archives');
  rmSync(directory, { recursive: true, force: true });
  for (const place of [join(directory, 'lists/partial'), join(archives, 'partial')])
    mkdirSync(place, { recursive: true });
  // Nothing is installed there: everything that is depended on comes along.
  writeFileSync(join(directory, 'status'), '');
  writeFileSync(join(directory, 'sources.list'), sourcesOf(architecture));
  const options = [
    `Dir::State=${directory}`,
    `Dir::State::lists=${join(directory, 'lists')}`,
    `Dir::State::status=${join(directory, 'status')}`,
    `Dir::Cache=${join(directory, 'cache')}`,
    `Dir::Etc::sourcelist=${join(directory, 'sources.list')}`,
    'Dir::Etc::sourceparts=/dev/null',
    'Dir::Etc::preferencesparts=/dev/null',
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    // Whatever this machine's own settings allow.
    'APT::Get::AllowUnauthenticated=false',
    'Acquire::AllowInsecureRepositories=false',
    'Acquire::AllowDowngradeToInsecureRepositories=false',
    // Only the indexes of packages are read.
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false',
    // The directory is not to be opened for apt's own user; what it downloads is verified all the same.
    'APT::Sandbox::User=',
  ].flatMap((option) => ['-o', option]);
  return {
    run: (...args) =>
      execFileSync('apt-get', [...options, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }),
    archives: () =>
      readdirSync(archives)
        .filter((name) => name.endsWith('.deb'))
        .sort()
        .map((name) => join(archives, name)),
  };
}

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Where this machine has its own packages from, as far as that is Debian; the indexes of `apt-get update` have to be there. */
function sourcesOf(architecture: string): string {
  const format = '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)';
  const known = execFileSync('apt-get', ['indextargets', '--format', format, 'Identifier: Packages'], {
    encoding: 'utf8',
  });
  const lines = known.split('\n').flatMap((line) => {
    const [origin, address, release, component] = line.split('|');
    return origin === 'Debian'
      ? [`deb [arch=${architecture} signed-by=${KEYRING}] ${address} ${release} ${component}`]
      : [];
  });
  if (lines.length === 0) throw new Error('this machine knows no sources of Debian; run apt-get update');
  return `${[...new Set(lines)].join('\n')}\n`;
}

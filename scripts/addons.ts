/** The native parts of npm packages, by the packages' own descriptions. npm installs without scripts, so they are built here, without network. */
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const REPOSITORY = join(import.meta.dirname, '..');

/** By what they make: where their description is, and what their own install scripts would have passed on. */
const ADDONS = {
  'pty.node': ['node_modules/node-pty'],
  'sshcrypto.node': [
    'node_modules/ssh2/lib/protocol/crypto',
    `--real_openssl_major=${Number.parseInt(process.versions.openssl, 10)}`,
  ],
} as const;

/** Absolute paths of the addons in the directories of their packages. */
export type Addons = Readonly<Record<keyof typeof ADDONS, string>>;

const fileIn = (place: string, name: string): string => join(place, 'build/Release', name);

/** As buildAddons() has made them for this machine. */
export const INSTALLED_ADDONS: Addons = {
  'pty.node': fileIn(join(REPOSITORY, ADDONS['pty.node'][0]), 'pty.node'),
  'sshcrypto.node': fileIn(join(REPOSITORY, ADDONS['sshcrypto.node'][0]), 'sshcrypto.node'),
};

/** In place. `nodeDirectory` is that of Node's npm package, with its headers. */
function buildAddons(nodeDirectory: string): void {
  for (const [directory, ...options] of Object.values(ADDONS))
    build(join(REPOSITORY, directory), { nodeDirectory, architecture: process.arch }, options, process.env);
}

export interface Cross {
  /** By Node's name. */
  readonly architecture: string;
  /** Of Node's npm package for it, with its headers. */
  readonly nodeDirectory: string;
  /** What the compiler's name begins with. */
  readonly triplet: string;
  /** Takes copies of the packages: node-gyp would put its results over those for this machine. Below the repository, where it looks for what they depend on. */
  readonly directory: string;
}

/** For another architecture, by a cross compiler. */
export function crossBuildAddons({ architecture, nodeDirectory, triplet, directory }: Cross): Addons {
  const env = { ...process.env, CC: `${triplet}-gcc`, CXX: `${triplet}-g++`, LINK: `${triplet}-g++` };
  const built = Object.entries(ADDONS).map(([name, [source, ...options]]) => {
    const place = join(directory, name);
    rmSync(place, { recursive: true, force: true });
    const filter = (path: string): boolean => path !== join(REPOSITORY, source, 'build');
    cpSync(join(REPOSITORY, source), place, { recursive: true, filter });
    build(place, { nodeDirectory, architecture }, options, env);
    return [name, fileIn(place, name)];
  });
  return Object.fromEntries(built);
}

function build(
  place: string,
  { nodeDirectory, architecture }: Pick<Cross, 'nodeDirectory' | 'architecture'>,
  options: readonly string[],
  env: NodeJS.ProcessEnv,
): void {
  const gyp = join(REPOSITORY, 'node_modules/node-gyp/bin/node-gyp.js');
  execFileSync(process.execPath, [gyp, 'rebuild', '--silent', '--release', ...options], {
    cwd: place,
    env: {
      ...env,
      // Before any option node-gyp takes what npm has put into the environment, which may be the system's Node.
      npm_config_nodedir: nodeDirectory,
      npm_config_arch: architecture,
      // The packages ask a `node` of PATH for what they depend on.
      PATH: `${join(process.execPath, '..')}:${env['PATH'] ?? ''}`,
      // Assertions of the headers name their file; where it was is nobody's business.
      CXXFLAGS: `-ffile-prefix-map=${nodeDirectory}=node`,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

if (import.meta.main) buildAddons(join(process.execPath, '../..'));

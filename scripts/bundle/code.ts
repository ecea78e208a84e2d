/** The code of both roles, one file each, with the native parts. */
import { copyFileSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build, type Metafile, type Plugin } from 'esbuild';
import type { Target } from './target.ts';

/** The verbs that each role's file holds; the others stay out of it. */
const ROLES = {
  process: (verb: string) => verb !== 'network-role',
  network: (verb: string) => verb === 'network-role',
} as const;

/** What packages can do without, and look for when they are loaded. */
const OPTIONAL_PACKAGES = ['cpu-features', 'bufferutil', 'utf-8-validate'];

export interface Code {
  /** Directories below node_modules that some of the code came from. */
  readonly packages: readonly string[];
}

/** Writes app/ and native/ below `bundle`, and the source maps, which users do not need, to `maps`. */
export async function bundleCode(
  repository: string,
  bundle: string,
  maps: string,
  { addons }: Target,
): Promise<Code> {
  for (const directory of [join(bundle, 'app'), join(bundle, 'native'), maps])
    mkdirSync(directory, { recursive: true });
  for (const [name, source] of Object.entries(addons)) copyFileSync(source, join(bundle, 'native', name));
  copyFileSync(join(repository, 'scripts/bundle/loader.cjs'), join(bundle, 'app/castellan.cjs'));
  const inputs = new Set<string>();
  for (const [role, has] of Object.entries(ROLES)) {
    const metafile = await bundleRole(repository, join(bundle, 'app', `${role}.cjs`), maps, has);
    for (const input of Object.keys(metafile.inputs)) inputs.add(input);
  }
  const packages = [...inputs].flatMap((input) => packageOf(input) ?? []);
  return { packages: [...new Set(packages)].sort() };
}

async function bundleRole(
  repository: string,
  outfile: string,
  maps: string,
  has: (verb: string) => boolean,
): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: repository,
    entryPoints: ['src/main.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    // Names are in messages and events, and to keep them otherwise is a call for each function at every start.
    minifyIdentifiers: false,
    // What Node brings is loaded by the loader's own require(): import() there is an experiment that Node warns of.
    supported: { 'dynamic-import': false },
    legalComments: 'none',
    sourcemap: 'external',
    metafile: true,
    logLevel: 'warning',
    external: OPTIONAL_PACKAGES,
    define: { 'import.meta.url': 'programUrl' },
    banner: {
      js: '(function (require, module, __filename, __dirname) { const exports = module.exports, programUrl = require("node:url").pathToFileURL(__filename).href;',
    },
    footer: { js: '})' },
    plugins: [nativeParts(), verbsOf(has)],
  });
  // esbuild escapes what is not ASCII, but not in expressions: one character would double what the code takes in memory.
  if (/[^\0-\x7f]/.test(readFileSync(outfile, 'utf8'))) throw new Error(`${outfile} is not ASCII`);
  renameSync(`${outfile}.map`, join(maps, `${basename(outfile)}.map`));
  return metafile;
}

/** All native parts lie in one directory, whatever their packages think. */
function nativeParts(): Plugin {
  return {
    name: 'native-parts',
    setup(bundler) {
      bundler.onResolve({ filter: /\.node$/ }, ({ path }) => ({
        path: `../native/${basename(path)}`,
        external: true,
      }));
      // Its own way is a search.
      bundler.onLoad({ filter: /node-pty\/lib\/utils\.js$/ }, () => ({
        contents:
          'exports.assign = Object.assign; exports.loadNativeModule = () => ({ dir: "", module: require("../native/pty.node") });',
        loader: 'js',
      }));
    },
  };
}

function verbsOf(has: (verb: string) => boolean): Plugin {
  return {
    name: 'verbs',
    setup(bundler) {
      bundler.onResolve({ filter: /^\.\/cli\/[a-z-]+\.ts$/ }, ({ path, kind }) =>
        kind !== 'dynamic-import' || has(basename(path, '.ts'))
          ? undefined
          : // By its name alone: the path is written into the code.
            { path: basename(path), namespace: 'elsewhere' },
      );
      bundler.onLoad({ filter: /.*/, namespace: 'elsewhere' }, () => ({
        contents:
          'export const verb = () => { throw new Error("this verb is not part of this role’s program"); };',
        loader: 'js',
      }));
    },
  };
}

/** `node_modules/NAME` or `node_modules/@SCOPE/NAME` of a file in it. */
function packageOf(input: string): string | undefined {
  return /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

/** The parsed package.json of a directory below node_modules. */
export function packageFacts(
  repository: string,
  directory: string,
): { name: string; version: string; license?: string } {
  return JSON.parse(readFileSync(join(repository, directory, 'package.json'), 'utf8'));
}

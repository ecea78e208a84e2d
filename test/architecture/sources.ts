import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/** Paths of the TypeScript files below a directory of the repository, relative to it. */
export function sourceFiles(directory: string, pattern: RegExp = /\.ts$/): string[] {
  return readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter((file) => pattern.test(file))
    .sort();
}

export function readSource(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

export interface Import {
  /** Below src, for imports of our own. */
  readonly target: string;
  /** The package or node module, for others. */
  readonly external: string;
  readonly typeOnly: boolean;
}

/** Static and dynamic imports of a file; a clause whose every name is a type counts as one. */
export function importsOf(file: string): Import[] {
  const found: Import[] = [];
  const statement =
    /(?:^|\n)\s*(?:import|export)\s+(type\s+)?([^'";]*?)from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g;
  for (const [, type, clause = '', from, dynamic, bare] of readSource(file).matchAll(statement)) {
    const specifier = from ?? dynamic ?? bare ?? '';
    const names =
      clause
        .match(/\{([^}]*)\}/)?.[1]
        ?.split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '') ?? [];
    const typeOnly =
      type !== undefined || (names.length > 0 && names.every((name) => name.startsWith('type ')));
    const own = specifier.startsWith('.');
    found.push({
      target: own ? relative('src', join(dirname(file), specifier)) : '',
      external: own ? '' : specifier,
      typeOnly,
    });
  }
  return found;
}

/**
 * Makes dist/bundle: castellan with everything it needs, to be put at any path of any image, and mounted read-only. Two runs from the
 * same sources on the same machine give the same bytes.
 */
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { bundleCode } from './bundle/code.ts';
import { writeBillOfMaterials, writeLicences, writeManifest, writeManual } from './bundle/describe.ts';
import { compileCode } from './bundle/rehearse.ts';
import { bundleSystem } from './bundle/system.ts';

const REPOSITORY = join(import.meta.dirname, '..');
const DIST = join(REPOSITORY, 'dist');
const NODE_PACKAGE = `node_modules/node-linux-${process.arch}`;
/** Of every file: when it was made is nobody's business, and would differ. */
const EPOCH = new Date(0);

const bundle = join(DIST, 'bundle');
rmSync(bundle, { recursive: true, force: true });
mkdirSync(bundle, { recursive: true });
const { packages } = await bundleCode(REPOSITORY, bundle, join(DIST, 'maps'));
const debian = bundleSystem(REPOSITORY, join(REPOSITORY, NODE_PACKAGE, 'bin/node'), bundle);
seal(bundle);
await compileCode(REPOSITORY, bundle);

const parts = { packages: [...packages, NODE_PACKAGE], debian };
writeLicences(REPOSITORY, bundle, parts);
writeBillOfMaterials(REPOSITORY, bundle, parts);
writeManual(bundle);
seal(bundle);
const { files } = writeManifest(bundle);
seal(bundle);
const bytes = files.reduce((sum, { size }) => sum + size, 0);
process.stdout.write(`dist/bundle: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB\n`);

/** Any uid may run it, and nobody may change it. */
function seal(directory: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (statSync(path).isDirectory()) seal(path);
    else chmodSync(path, isProgram(path) ? 0o555 : 0o444);
    utimesSync(path, EPOCH, EPOCH);
  }
  utimesSync(directory, EPOCH, EPOCH);
}

/** Libraries are mapped, which takes no right to execute; the loader is started. */
function isProgram(path: string): boolean {
  return /\/(bin|libexec|lib\/programs)\/[^/]+$|\/lib\/ld\.so$/.test(path);
}

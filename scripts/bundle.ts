/**
 * Makes dist/bundle: castellan with everything it needs, to be put at any path of any image, and mounted read-only. Two runs from the
 * same sources on the same machine give the same bytes. `--architecture NAME` makes dist/bundle-NAME, for machines of that architecture.
 */
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleCode } from './bundle/code.ts';
import { crossTarget } from './bundle/cross.ts';
import { writeBillOfMaterials, writeLicences, writeManifest, writeManual } from './bundle/describe.ts';
import { compileCode } from './bundle/rehearse.ts';
import { bundleSystem } from './bundle/system.ts';
import { architectureNamed, THIS_ARCHITECTURE, thisMachine } from './bundle/target.ts';

const REPOSITORY = join(import.meta.dirname, '..');
const DIST = join(REPOSITORY, 'dist');
/** Of every file: when it was made is nobody's business, and would differ. */
const EPOCH = new Date(0);

const { values } = parseArgs({ options: { architecture: { type: 'string' } } });
const wanted = values.architecture === undefined ? undefined : architectureNamed(values.architecture);
const target =
  wanted === undefined || wanted === THIS_ARCHITECTURE
    ? thisMachine(REPOSITORY)
    : crossTarget(REPOSITORY, wanted);
const name = wanted === undefined ? 'bundle' : `bundle-${wanted}`;
const bundle = join(DIST, name);
rmSync(bundle, { recursive: true, force: true });
mkdirSync(bundle, { recursive: true });
const { packages } = await bundleCode(REPOSITORY, bundle, join(DIST, 'maps'), target);
const debian = bundleSystem(REPOSITORY, bundle, target);
seal(bundle);
await compileCode(REPOSITORY, bundle, target);

const parts = { packages: [...packages, target.nodePackage], debian };
writeLicences(REPOSITORY, bundle, parts);
writeBillOfMaterials(REPOSITORY, bundle, parts);
writeManual(bundle);
seal(bundle);
const { files } = writeManifest(bundle, target.architecture);
seal(bundle);
linkFromImageRoot(join(DIST, 'image'));
const bytes = files.reduce((sum, { size }) => sum + size, 0);
process.stdout.write(`dist/${name}: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB\n`);

/** What an image has at its root beside the bundle: OpenShell's drivers mount the image, and start the program of this name. */
function linkFromImageRoot(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  symlinkSync('opt/castellan/bin/openshell-sandbox', join(directory, 'openshell-sandbox'));
}

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

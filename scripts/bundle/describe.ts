/** What a bundle says of itself: licences, a bill of materials, and a manifest of every file. */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import { completionScript } from '../../src/cli/completion-script.ts';
import { manPage } from '../../src/cli/man-page.ts';
import { type BundleManifest, MANIFEST_FILE } from '../../src/config/bundle-manifest.ts';
import { VERSION, VERSION_DATE } from '../../src/version.ts';
import { packageFacts } from './code.ts';
import type { DebianPackage } from './debian.ts';

export interface Parts {
  /** Directories of npm packages below the repository, Node's own included. */
  readonly packages: readonly string[];
  readonly debian: readonly DebianPackage[];
}

/** One text a part, below licences/. */
export function writeLicences(repository: string, bundle: string, { packages, debian }: Parts): void {
  const directory = join(bundle, 'licences');
  mkdirSync(directory, { recursive: true });
  copyFileSync(join(repository, 'LICENSE'), join(directory, 'castellan'));
  for (const part of packages) {
    const home = join(repository, part);
    const file = readdirSync(home).find((name) => /^licen[cs]e/i.test(name));
    const { name, license } = packageFacts(repository, part);
    const target = join(directory, name.replaceAll('/', '_'));
    // Some packages only name theirs.
    if (file === undefined) writeFileSync(target, `${license ?? 'unknown'}\n`);
    else copyFileSync(join(home, file), target);
  }
  for (const { name, copyright } of debian) copyFileSync(copyright, join(directory, `debian_${name}`));
}

/** CycloneDX 1.6, without a serial number or a date, so that two builds agree. */
export function writeBillOfMaterials(repository: string, bundle: string, { packages, debian }: Parts): void {
  const component = (name: string, version: string, purl: string, licence?: string): Models.Component => {
    const made = new Models.Component(Enums.ComponentType.Library, name, { version, purl, bomRef: purl });
    if (licence !== undefined) made.licenses.add(new Models.NamedLicense(licence));
    return made;
  };
  const own = new Models.Component(Enums.ComponentType.Application, 'castellan', {
    version: VERSION,
    bomRef: 'castellan',
  });
  const bom = new Models.Bom({ metadata: new Models.Metadata({ component: own }) });
  for (const part of packages) {
    const { name, version, license } = packageFacts(repository, part);
    bom.components.add(component(name, version, `pkg:npm/${name.replace('@', '%40')}@${version}`, license));
  }
  for (const { name, version } of debian)
    bom.components.add(component(name, version, `pkg:deb/debian/${name}@${encodeURIComponent(version)}`));
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  const text = serializer.serialize(bom, { sortLists: true, space: 1 });
  writeFileSync(join(bundle, 'share/sbom.cdx.json'), `${text}\n`);
}

/** The manual page and the completions, where packages keep them. */
export function writeManual(bundle: string): void {
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(join(bundle, 'share', path)), { recursive: true });
    writeFileSync(join(bundle, 'share', path), text);
  };
  put('man/man8/castellan.8', manPage(VERSION, VERSION_DATE));
  put('bash-completion/completions/castellan', completionScript('bash'));
  put('zsh/site-functions/_castellan', completionScript('zsh'));
  put('fish/vendor_completions.d/castellan.fish', completionScript('fish'));
}

/** Last of all: whatever is not in it is not part of the bundle. */
export function writeManifest(bundle: string, architecture: BundleManifest['architecture']): BundleManifest {
  const files = readdirSync(bundle, { recursive: true, encoding: 'utf8' })
    .filter((path) => statSync(join(bundle, path)).isFile())
    .sort()
    .map((path) => {
      const bytes = readFileSync(join(bundle, path));
      return {
        path,
        size: bytes.length,
        executable: (statSync(join(bundle, path)).mode & 0o100) !== 0,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      };
    });
  const manifest: BundleManifest = { format: 1, version: VERSION, architecture, files };
  writeFileSync(join(bundle, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 1)}\n`);
  return manifest;
}

/** The list of a bundle's files, which travels with it. */
import * as v from 'valibot';

export const MANIFEST_FILE = 'manifest.json';

/** Some hundred files; more is no list of ours. */
const MAX_FILES = 10_000;

const path = v.pipe(
  v.string(),
  v.regex(/^[\w@+.-]+(\/[\w@+.-]+)*$/),
  v.check((text) => !text.split('/').includes('..'), 'leads out of the bundle'),
);
const manifest = v.strictObject({
  format: v.literal(1),
  version: v.string(),
  architecture: v.picklist(['x64', 'arm64']),
  files: v.pipe(
    v.array(
      v.strictObject({
        path,
        size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
        executable: v.boolean(),
        sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      }),
    ),
    v.maxLength(MAX_FILES),
  ),
});

export type BundleManifest = v.InferOutput<typeof manifest>;
export type BundleFile = BundleManifest['files'][number];

/** @throws SyntaxError or ValiError for what is no manifest */
export function parseManifest(text: string): BundleManifest {
  return v.parse(manifest, JSON.parse(text));
}

/**
 * The agent's trust in the certificate authority by which opened TLS is proved. Programs find it by the variables of their
 * libraries, in the system's own bundle and Java's stores, which the agent sees with the authority added, and in the settings
 * of browsers; the image's files stay as they are.
 */
import { fstatSync, rmSync, type Stats } from 'node:fs';
import { chmod, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import { possibleJavaStores, readSystemBundle, SYSTEM_BUNDLES } from '../kernel/trust-bundles.ts';
import { trustEnvironment } from '../launch/environment.ts';
import type { MountStep } from '../launch/spec.ts';
import { opensConnections } from '../policy/compile.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { certificatesIn } from '../protocol/pem.ts';
import type { Setup } from '../roles/control/message.ts';
import { openBrowserSettings } from './browser-settings.ts';
import { type GrantedPath, openExisting } from './filesystem.ts';
import { covers } from './path-plan.ts';

export interface TrustStore extends Disposable {
  /** Before anything is hidden: what is mounted lies below a hidden place. */
  readonly mounts: readonly MountStep[];
  /** Mounted where a place of castellan's own would be hidden. */
  readonly cover: TrustCover | undefined;
  readonly granted: readonly GrantedPath[];
  readonly environment: Readonly<Record<string, string>>;
  /** Fills the files; no agent process may start before. */
  publish(authority: string): Promise<void>;
}

export interface TrustCover {
  readonly path: string;
  readonly descriptor: number;
}

export interface TrustRequest {
  readonly config: RunConfig;
  readonly policy: PolicyDocument;
  /** What the sidecar said; undefined where there is none. */
  readonly setup?: Pick<Setup, 'authority'> | undefined;
  /** Where the files are: the run directory, which the agent cannot reach. */
  readonly directory: string;
  readonly report: Report;
}

const AUTHORITY_FILE = 'castellan-ca.pem';
const BUNDLE_FILE = 'ca-bundle.pem';
const JAVA_FILE = 'java-cacerts';
/** In the run base of a pod's agent, whatever the run is called: for what an image has to name before there is a run. */
const LASTING_NAME = '.trust';
/** Nobody has more; each is a mount, of which a view has a limited number. */
const MAX_JAVA_STORES = 32;
const NOTHING: TrustStore = {
  mounts: [],
  cover: undefined,
  granted: [],
  environment: {},
  async publish() {},
  [Symbol.dispose]() {},
};

/** Java reads no list of certificates, and no variable in silence; what starts it reads these. */
const JAVA_OPTION_VARIABLES = ['JAVA_OPTS', 'MAVEN_OPTS', 'GRADLE_OPTS', 'SBT_OPTS'];

/** Where nothing can be mounted: programs find the authority by variables alone. README says who does, and what is left to an image. */
async function openPlainTrust({ config, directory, report }: TrustRequest): Promise<TrustStore> {
  const store = join(directory, 'trust');
  const [authorityFile, bundleFile, javaFile] = [
    join(store, AUTHORITY_FILE),
    join(store, BUNDLE_FILE),
    join(store, JAVA_FILE),
  ];
  await mkdir(store, { mode: 0o755 });
  for (const path of [authorityFile, bundleFile, javaFile])
    await writeFile(path, '', { mode: 0o444, flag: 'wx' });
  using held = new DisposableStack();
  const descriptor = openExisting(store);
  if (descriptor === undefined) throw new Error(`${store} vanished`);
  held.defer(() => posix().close(descriptor));
  const lasting = join(dirname(directory), LASTING_NAME);
  await rm(lasting, { force: true });
  await symlink(join(basename(directory), 'trust'), lasting);
  held.defer(() => rmSync(lasting, { force: true }));
  report({
    kind: 'control-degraded',
    control: 'trust-store',
    reason: `nothing can be mounted here: the authority is in ${bundleFile}, ${javaFile} and the variables that name them`,
    remedy:
      'give browsers, and programs that read no such variable, the authority in their own settings: NODE_EXTRA_CA_CERTS names its file',
  });
  const kept = held.move();
  return {
    mounts: [],
    cover: undefined,
    granted: [{ path: store, descriptor, isDirectory: true, access: 'read' }],
    environment: {
      ...trustEnvironment(authorityFile, bundleFile),
      ...javaEnvironment(javaFile, config.sharedEnvironment),
    },
    async publish(authority) {
      const bundle = withAuthority(await readSystemBundle(), authority);
      await rewrite(authorityFile, authority);
      await rewrite(bundleFile, bundle);
      await rewrite(javaFile, await javaStoreOf(bundle));
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}

/** What every script that reads these variables takes for one word: some split them at blanks, some have a shell read them again. */
const ONE_WORD = /^[\w./-]+$/;

/**
 * After what the operator says in them: the last word of one property is the one that counts. Nothing where the path would be taken
 * apart: Java would then start for nobody.
 */
export function javaEnvironment(
  store: string,
  chosen: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (!ONE_WORD.test(store)) return {};
  const option = `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStoreType=JKS`;
  return Object.fromEntries(
    JAVA_OPTION_VARIABLES.map((name) => [name, chosen[name] ? `${chosen[name]} ${option}` : option]),
  );
}

function withAuthority(system: string, authority: string): string {
  return `${system}${system === '' || system.endsWith('\n') ? '' : '\n'}${authority}`;
}

/** Makes empty files and the mounts of them; nothing where no TLS is opened, or where nothing can be mounted. */
export async function openTrustStore(request: TrustRequest): Promise<TrustStore> {
  const { config, policy, setup, directory, report } = request;
  if (setup?.authority !== undefined) return openPlainTrust(request);
  const opens = opensConnections(policy.network);
  // Which destinations a credential names is known to the network role alone.
  const mayOpen = opens || config.reload !== undefined || config.secretFiles.credentials !== undefined;
  if (!mayOpen || config.mode === 'process-only') return NOTHING;
  using held = new DisposableStack();
  const hold = (path: string): number => {
    const descriptor = openExisting(path);
    if (descriptor === undefined) throw new Error(`${path} vanished`);
    held.defer(() => posix().close(descriptor));
    return descriptor;
  };
  const store = join(directory, 'trust');
  await mkdir(store, { mode: 0o755 });
  await chmod(store, 0o755);
  const javaStores = (await possibleJavaStores()).filter(isPlainFile).slice(0, MAX_JAVA_STORES);
  const files = [AUTHORITY_FILE, BUNDLE_FILE, ...(javaStores.length > 0 ? [JAVA_FILE] : [])];
  for (const name of files) await writeFile(join(store, name), '', { mode: 0o444, flag: 'wx' });
  const place = visiblePlace(config);
  await mkdir(place, { recursive: true, mode: 0o700 });
  const cover = { path: place, descriptor: hold(store) };
  const over = (paths: readonly string[], file: string): MountStep[] => {
    if (paths.length === 0) return [];
    const descriptor = hold(file);
    return paths.map((path) => ({ kind: 'bind', descriptor, path }));
  };
  const browsers = await openBrowserSettings(join(directory, 'browsers'), isPlainDirectory);
  const mounts = [
    ...over(SYSTEM_BUNDLES.filter(isPlainFile), join(store, BUNDLE_FILE)),
    ...over(javaStores, join(store, JAVA_FILE)),
    ...browsers.places.flatMap(({ path, copy }) => over([path], copy)),
  ];
  report({
    kind: 'control-applied',
    control: 'trust-store',
    detail: [join(place, BUNDLE_FILE), ...mounts.map(({ path }) => path)].join(', '),
  });
  const kept = held.move();
  return {
    mounts,
    cover,
    granted: [{ path: place, descriptor: cover.descriptor, isDirectory: true, access: 'read' }],
    environment: trustEnvironment(join(place, AUTHORITY_FILE), join(place, BUNDLE_FILE)),
    async publish(authority) {
      const bundle = withAuthority(await readSystemBundle(), authority);
      await rewrite(join(store, AUTHORITY_FILE), authority);
      await rewrite(join(store, BUNDLE_FILE), bundle);
      if (javaStores.length > 0) await rewrite(join(store, JAVA_FILE), await javaStoreOf(bundle));
      await browsers.publish(derOf(authority));
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}

async function javaStoreOf(bundle: string): Promise<Buffer> {
  const { javaKeyStore } = await import('../protocol/java-key-store.ts');
  return javaKeyStore(certificatesIn(bundle).map(derOf), new Date());
}

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replaceAll(/-----[^-]*-----|\s/g, ''), 'base64');
}

/** In place: what is mounted is this very file. */
async function rewrite(path: string, text: string | Buffer): Promise<void> {
  await chmod(path, 0o644);
  await writeFile(path, text, { flag: 'r+' });
  await chmod(path, 0o444);
}

/** A place that is hidden anyway; all of /run is, for a rootless agent. */
function visiblePlace({ mode, runBase, logDirectory }: RunConfig): string {
  return mode === 'root' || !covers('/run', runBase) ? runBase : logDirectory;
}

function isPlainFile(path: string): boolean {
  return kindOf(path)?.isFile() ?? false;
}

function isPlainDirectory(path: string): boolean {
  return kindOf(path)?.isDirectory() ?? false;
}

function kindOf(path: string): Stats | undefined {
  try {
    const descriptor = openExisting(path);
    if (descriptor === undefined) return undefined;
    try {
      return fstatSync(descriptor);
    } finally {
      posix().close(descriptor);
    }
  } catch (error) {
    // Reached through a link: the file behind it is in the list itself, or is not the system's.
    if (error instanceof CastellanError) return undefined;
    throw error;
  }
}

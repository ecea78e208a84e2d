/**
 * Whom the agent of a pod runs as: what the request says, else what OpenShift has set aside for the namespace, else 1000. A number
 * that cannot be read is an error and never the next one in line: the pod would run as somebody whom nobody chose.
 */
import { MIN_DRIVER_ID } from '../config/driver-identity.ts';
import { CastellanError } from '../errors.ts';
import { type BlockReading, type IdBlock, parseIdBlock, parseIdBlocks } from './id-blocks.ts';

export const UID_RANGE_ANNOTATION = 'openshift.io/sa.scc.uid-range';
export const GROUPS_ANNOTATION = 'openshift.io/sa.scc.supplemental-groups';
export const DEFAULT_SANDBOX_ID = 1000;
/** API servers take no larger number of a user or group (IsValidUserID in apimachinery); OpenShift's blocks lie below. */
export const MAX_POD_ID = 2 ** 31 - 1;

/** What is known of the namespace. */
export type NamespaceFacts =
  /** Nobody was asked: no cluster is there, or one without annotations. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'read'; readonly annotations: Readonly<Record<string, string>> }
  | { readonly kind: 'unreadable'; readonly reason: string };

export interface ConfiguredIds {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface SourcedId {
  readonly value: number;
  /** For whoever reads the pod: `sandbox_uid`, the name of an annotation, `default` … */
  readonly source: string;
}

/** `platform`: whoever makes the container chooses the uid, and castellan takes it as it finds it. */
export type PodIdentity =
  | { readonly kind: 'ids'; readonly uid: SourcedId; readonly gid: SourcedId }
  | { readonly kind: 'platform' };

/**
 * The numbers of a pod, each from the first source that has one.
 * @throws CastellanError `identity_invalid` for what is out of range, malformed or unreadable, with the reason
 */
export function resolvePodIdentity(
  configured: ConfiguredIds,
  namespace: NamespaceFacts,
): Extract<PodIdentity, { kind: 'ids' }> {
  const annotations = annotationsOf(configured, namespace);
  const uid = checked(resolveUid(configured, annotations));
  return { kind: 'ids', uid, gid: checked(resolveGid(configured, annotations, uid)) };
}

/**
 * Refuses numbers of the sandbox that are the proxy's, which the fence lets through.
 * @throws CastellanError `identity_invalid`
 */
export function refuseProxyIds(identity: PodIdentity, proxyUid: number): void {
  if (identity.kind === 'platform') return;
  for (const [name, { value, source }] of Object.entries({ uid: identity.uid, gid: identity.gid }))
    if (value === proxyUid)
      throw refused(
        `the sandbox's ${name} ${value} (${source}) is the proxy's, whom the fence lets through`,
        'choose another proxy_uid',
      );
}

function annotationsOf(
  { uid, gid }: ConfiguredIds,
  namespace: NamespaceFacts,
): Readonly<Record<string, string>> {
  if (namespace.kind === 'read') return namespace.annotations;
  if (namespace.kind === 'unknown' || (uid !== undefined && gid !== undefined)) return {};
  throw refused(
    `the annotations of the namespace cannot be read: ${namespace.reason}`,
    'let castellan read the namespace, or set both sandbox_uid and sandbox_gid',
  );
}

function resolveUid({ uid }: ConfiguredIds, annotations: Readonly<Record<string, string>>): SourcedId {
  if (uid !== undefined) return { value: uid, source: 'sandbox_uid' };
  const range = annotationBlock(annotations, UID_RANGE_ANNOTATION, parseIdBlock);
  if (range !== undefined) return { value: range.start, source: UID_RANGE_ANNOTATION };
  if (Object.hasOwn(annotations, GROUPS_ANNOTATION))
    throw refused(
      `the namespace has ${GROUPS_ANNOTATION} without ${UID_RANGE_ANNOTATION}: OpenShift admits nothing there`,
      'wait until OpenShift has annotated the namespace, or set sandbox_uid',
    );
  return { value: DEFAULT_SANDBOX_ID, source: 'default' };
}

/** Without a list of groups OpenShift takes the range of uids for them too. */
function resolveGid(
  { gid }: ConfiguredIds,
  annotations: Readonly<Record<string, string>>,
  uid: SourcedId,
): SourcedId {
  if (gid !== undefined) return { value: gid, source: 'sandbox_gid' };
  const groups = annotationBlock(annotations, GROUPS_ANNOTATION, parseIdBlocks);
  if (groups !== undefined) return { value: groups.start, source: GROUPS_ANNOTATION };
  const range = annotationBlock(annotations, UID_RANGE_ANNOTATION, parseIdBlock);
  return range === undefined ? uid : { value: range.start, source: UID_RANGE_ANNOTATION };
}

function annotationBlock(
  annotations: Readonly<Record<string, string>>,
  name: string,
  parse: (text: string) => BlockReading,
): IdBlock | undefined {
  if (!Object.hasOwn(annotations, name)) return undefined;
  const text = annotations[name] ?? '';
  const { block, problem } = parse(text);
  if (block !== undefined) return block;
  throw refused(
    `annotation ${name} of the namespace is ${JSON.stringify(text)}, which ${problem}`,
    'correct the annotation, or set sandbox_uid and sandbox_gid',
  );
}

function checked(id: SourcedId): SourcedId {
  if (Number.isInteger(id.value) && id.value >= MIN_DRIVER_ID && id.value <= MAX_POD_ID) return id;
  throw refused(
    `${id.value} (${id.source}) is outside ${MIN_DRIVER_ID} to ${MAX_POD_ID}`,
    'set sandbox_uid and sandbox_gid to numbers in that range',
  );
}

function refused(message: string, remedy: string): CastellanError {
  return new CastellanError('identity_invalid', message, { step: 'kubernetes/identity', remedy });
}

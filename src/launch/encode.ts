/** A LaunchSpec as castellan-launch reads it: records and descriptors; native/README.md has the format. */
import { SECCOMP_GROUP_NAMES } from '../policy/seccomp.ts';
import type { ConnectTarget, LaunchSpec, MountStep } from './spec.ts';

const TAG = {
  argument: 1,
  environment: 2,
  directory: 3,
  uid: 4,
  gid: 5,
  group: 6,
  newSession: 7,
  resourceLimit: 8,
  umask: 9,
  userNamespace: 10,
  networkNamespace: 11,
  hide: 12,
  bind: 13,
  landlockRuleset: 14,
  landlockRule: 15,
  seccomp: 16,
  keep: 17,
  cgroup: 18,
  directoryAccess: 19,
  checkOnly: 20,
  restrictFlags: 21,
  seccompRelax: 22,
  idMap: 23,
  landlockPort: 24,
  mountNamespace: 25,
  connectTcp: 26,
  connectUnix: 27,
} as const;

const PROFILES = { none: 0, agent: 1, 'network-role': 2 } as const satisfies Record<
  LaunchSpec['seccomp'],
  number
>;

/** R_OK and W_OK of access(2). */
const DIRECTORY_ACCESS = { read: 4, write: 2 } as const;

const HEADER_BYTES = 8;

export interface EncodedSpec {
  readonly bytes: Uint8Array;
  /** In the order that the records' indexes mean. */
  readonly descriptors: number[];
}

/** Encodes a spec; pure. @throws RangeError for a number that its field cannot hold */
export function encodeSpec(spec: LaunchSpec): EncodedSpec {
  const descriptors: number[] = [];
  const index = (descriptor: number): Buffer => words(descriptors.push(descriptor) - 1);
  const { credentials, namespaces, landlock } = spec;
  const records = [
    ...spec.argv.map((argument) => record(TAG.argument, Buffer.from(argument))),
    ...spec.environment.map((variable) => record(TAG.environment, Buffer.from(variable))),
    record(TAG.directory, Buffer.from(spec.workingDirectory)),
    record(
      TAG.directoryAccess,
      words(spec.directoryAccess.reduce((sum, access) => sum | DIRECTORY_ACCESS[access], 0)),
    ),
    ...(spec.cgroup === undefined ? [] : [record(TAG.cgroup, index(spec.cgroup.procs))]),
    ...(credentials === undefined
      ? []
      : [
          record(TAG.uid, words(credentials.uid)),
          record(TAG.gid, words(credentials.gid)),
          ...credentials.groups.map((group) => record(TAG.group, words(group))),
        ]),
    ...(spec.newSession ? [record(TAG.newSession)] : []),
    ...spec.resourceLimits.map(({ resource, soft, hard }) =>
      record(TAG.resourceLimit, words(resource, 0), longWords(soft, hard)),
    ),
    record(TAG.umask, words(spec.umask)),
    ...(namespaces.user === undefined ? [] : [record(TAG.userNamespace, index(namespaces.user))]),
    ...(namespaces.network === undefined ? [] : [record(TAG.networkNamespace, index(namespaces.network))]),
    ...(spec.view === undefined
      ? []
      : [record(TAG.mountNamespace, index(spec.view.descriptor), words(spec.view.prepare ? 1 : 0))]),
    ...spec.mounts.map((step) => mountRecord(step, index)),
    ...(landlock === undefined
      ? []
      : [
          record(TAG.landlockRuleset, longWords(landlock.handledFs, landlock.handledNet, landlock.scoped)),
          ...landlock.rules.map(({ descriptor, access }) =>
            record(TAG.landlockRule, index(descriptor), words(0), longWords(access)),
          ),
          ...landlock.ports.map(({ port, access }) =>
            record(TAG.landlockPort, longWords(access, BigInt(port))),
          ),
          record(TAG.restrictFlags, words(landlock.restrictFlags)),
        ]),
    record(TAG.seccomp, words(PROFILES[spec.seccomp])),
    record(
      TAG.seccompRelax,
      words(spec.seccompRelax.reduce((sum, group) => sum | (1 << SECCOMP_GROUP_NAMES.indexOf(group)), 0)),
    ),
    ...(spec.checkOnly ? [record(TAG.checkOnly)] : []),
    ...(spec.target === undefined ? [] : [targetRecord(spec.target)]),
    ...spec.keep.map(({ descriptor, target }) => record(TAG.keep, index(descriptor), words(target))),
  ];
  return { bytes: Buffer.concat(records), descriptors };
}

function mountRecord(step: MountStep, index: (descriptor: number) => Buffer): Buffer {
  const path = Buffer.from(step.path);
  switch (step.kind) {
    case 'hide':
      return record(TAG.hide, path);
    case 'bind':
      return record(TAG.bind, index(step.descriptor), path);
    case 'id-map':
      return record(TAG.idMap, index(step.userNamespace), index(step.descriptor), path);
  }
}

function targetRecord(target: ConnectTarget): Buffer {
  if (target.kind === 'unix') return record(TAG.connectUnix, Buffer.from(target.path));
  const { family, value } = target.address;
  const digits = value.toString(16).padStart(family === 4 ? 8 : 32, '0');
  return record(TAG.connectTcp, words(target.port), Buffer.from(digits, 'hex'));
}

function record(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16LE(tag, 0);
  header.writeUInt32LE(value.length, 4);
  return Buffer.concat([header, value]);
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [position, value] of values.entries()) bytes.writeUInt32LE(value, 4 * position);
  return bytes;
}

function longWords(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [position, value] of values.entries()) bytes.writeBigUInt64LE(value, 8 * position);
  return bytes;
}

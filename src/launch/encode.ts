import type { LaunchSpec } from './spec.ts';

const TAG = {
  argument: 1,
  environment: 2,
  directory: 3,
  uid: 4,
  gid: 5,
  group: 6,
  session: 7,
  limit: 8,
  umask: 9,
  userNamespace: 10,
  networkNamespace: 11,
  hide: 12,
  bind: 13,
  ruleset: 14,
  rule: 15,
  seccomp: 16,
  keep: 17,
} as const;
const PROFILES = { none: 0, agent: 1, 'network-role': 2 } as const;

export function encodeSpec(spec: LaunchSpec): { readonly bytes: Uint8Array; readonly descriptors: number[] } {
  const records: Buffer[] = [];
  const descriptors: number[] = [];
  const index = (d: number) => descriptors.push(d) - 1;
  const add = (tag: number, value: Buffer) => {
    const head = Buffer.alloc(8);
    head.writeUInt16LE(tag, 0);
    head.writeUInt32LE(value.length, 4);
    records.push(head, value);
  };
  const text = (tag: number, value: string) => add(tag, Buffer.from(value));
  const words = (...v: number[]) => {
    const b = Buffer.alloc(4 * v.length);
    v.forEach((x, i) => b.writeUInt32LE(x, 4 * i));
    return b;
  };
  const longs = (...v: bigint[]) => {
    const b = Buffer.alloc(8 * v.length);
    v.forEach((x, i) => b.writeBigUInt64LE(x, 8 * i));
    return b;
  };
  for (const a of spec.argv) text(TAG.argument, a);
  for (const e of spec.environment) text(TAG.environment, e);
  text(TAG.directory, spec.workingDirectory);
  if (spec.credentials) {
    add(TAG.uid, words(spec.credentials.uid));
    add(TAG.gid, words(spec.credentials.gid));
    for (const g of spec.credentials.groups) add(TAG.group, words(g));
  }
  if (spec.newSession) add(TAG.session, Buffer.alloc(0));
  for (const l of spec.resourceLimits)
    add(TAG.limit, Buffer.concat([words(l.resource, 0), longs(l.soft, l.hard)]));
  add(TAG.umask, words(spec.umask));
  if (spec.namespaces.user !== undefined) add(TAG.userNamespace, words(index(spec.namespaces.user)));
  if (spec.namespaces.network !== undefined) add(TAG.networkNamespace, words(index(spec.namespaces.network)));
  for (const m of spec.mounts)
    m.kind === 'hide'
      ? text(TAG.hide, m.path)
      : add(TAG.bind, Buffer.concat([words(index(m.descriptor)), Buffer.from(m.path)]));
  if (spec.landlock) {
    add(TAG.ruleset, longs(spec.landlock.handledFs, spec.landlock.handledNet, spec.landlock.scoped));
    for (const r of spec.landlock.rules)
      add(TAG.rule, Buffer.concat([words(index(r.descriptor), 0), longs(r.access)]));
  }
  add(TAG.seccomp, words(PROFILES[spec.seccomp]));
  for (const k of spec.keep) add(TAG.keep, words(index(k.descriptor), k.target));
  return { bytes: Buffer.concat(records), descriptors };
}

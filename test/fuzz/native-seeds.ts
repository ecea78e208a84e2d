/** Inputs that reach deep into the native harnesses; the first byte of some chooses what is read. */
import { encodeSpec } from '../../src/launch/encode.ts';
import type { ConnectTarget, LandlockSpec, LaunchSpec } from '../../src/launch/spec.ts';

const LANDLOCK: LandlockSpec = {
  handledFs: 0xffffn,
  handledNet: 3n,
  scoped: 3n,
  rules: [{ descriptor: 1, access: 0xfn }],
  ports: [{ port: 443, access: 2n }],
  restrictFlags: 1,
};

const SPEC: LaunchSpec = {
  argv: ['/bin/sh', '-c', 'true'],
  environment: ['PATH=/bin', 'A='],
  workingDirectory: '/',
  directoryAccess: ['read', 'write'],
  cgroup: { directory: 0, procs: 0 },
  checkOnly: true,
  credentials: { uid: 1000, gid: 1000, groups: [1001, 1002] },
  newSession: true,
  resourceLimits: [{ resource: 7, soft: 1024n, hard: 1024n }],
  umask: 0o22,
  namespaces: { user: 1, network: 2 },
  view: { descriptor: 3, prepare: false },
  mounts: [
    { kind: 'hide', path: '/run/castellan' },
    { kind: 'bind', descriptor: 1, path: '/etc/passwd' },
    { kind: 'id-map', userNamespace: 1, descriptor: 2, path: '/work' },
  ],
  landlock: LANDLOCK,
  seccomp: 'agent',
  seccompRelax: [],
  keep: [{ descriptor: 1, target: 3 }],
  target: undefined,
};

const CONNECTION: LaunchSpec = { ...SPEC, argv: [], keep: [], checkOnly: false };
const TARGETS: readonly ConnectTarget[] = [
  { kind: 'tcp', address: { family: 4, value: 0x7f00_0001n }, port: 80 },
  { kind: 'tcp', address: { family: 6, value: 1n }, port: 65_535 },
  { kind: 'tcp', address: { family: 4, value: 0x0a00_0001n }, port: 80 },
  { kind: 'unix', path: `/${'x'.repeat(106)}` },
  { kind: 'unix', path: `/${'x'.repeat(107)}` },
];

/** As many of each as there may be, and one more. */
const CROWDED: readonly Partial<LaunchSpec>[] = [0, 1].flatMap((more) => [
  { keep: numbers(64 + more).map((index) => ({ descriptor: 1, target: 3 + index })) },
  { mounts: numbers(512 + more).map((index) => ({ kind: 'hide', path: `/${index}` }) as const) },
  { resourceLimits: numbers(32 + more).map((resource) => ({ resource, soft: 1n, hard: 1n })) },
  { credentials: { uid: 1, gid: 1, groups: numbers(1024 + more).map((index) => 1 + index) } },
  { landlock: { ...LANDLOCK, ports: numbers(1024 + more).map((port) => ({ port, access: 1n })) } },
]);

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function counted(text: string): Buffer {
  return Buffer.concat([word(Buffer.byteLength(text)), Buffer.from(text)]);
}

const records = encodeSpec(SPEC).bytes;
const request = Buffer.concat([
  word(0x534e5343),
  ...['link add', 'table inet c {}', 'tcp4 127.0.0.1 3128\ndiag\n', '/sbin/ip', '/usr/sbin/nft'].map(counted),
]);
const [FIRST, SECOND] = [Buffer.of(0), Buffer.of(1)];

export const NATIVE_SEEDS: Readonly<Record<string, readonly Uint8Array[]>> = {
  'launch-spec': [
    Buffer.concat([FIRST, records]),
    ...TARGETS.map((target) => Buffer.concat([FIRST, encodeSpec({ ...CONNECTION, target }).bytes])),
    ...CROWDED.map((part) => Buffer.concat([FIRST, encodeSpec({ ...SPEC, ...part }).bytes])),
    Buffer.concat([SECOND, word(0x4c545343), word(1), word(records.length), word(0), records]),
  ],
  'netns-request': [
    Buffer.concat([FIRST, request]),
    Buffer.concat([FIRST, word(0x534e5343), counted('x'.repeat(65_537)), request]),
    ...['tcp4 127.0.0.1 3128', 'udp6 ::1 53', 'nflog 100', 'diag', 'tcp4 127.0.0.1 65536'].map((line) =>
      Buffer.concat([SECOND, Buffer.from(line)]),
    ),
  ],
  'init-environment': [
    Buffer.concat([FIRST, Buffer.from('PATH=/bin\0LD_PRELOAD=/x\0NODE_OPTIONS=--x\0A=LD_\0')]),
    Buffer.concat([SECOND, Buffer.from('12 (a) b) S 1 12 12 0 -1 4194560')]),
  ],
  'launch-server': [Uint8Array.of(1, 0, 0, 0, 13, 0, 0, 0, 0x2f), new Uint8Array(263), new Uint8Array(300)],
};

/** System calls that a seccomp profile is asked about by system-calls.c, and what it has to say. */
export const EPERM = 1;
export const ENOSYS = 38;
/** asm/unistd.h has these on x86-64 only; the first are refused there. */
export const X64_REFUSED = ['modify_ldt', 'uselib', 'iopl', 'ioperm'] as const;
export const X64_ONLY: readonly string[] = [...X64_REFUSED, 'fork', 'vfork'];
/** Newer than Debian's headers; the same number everywhere. */
export const OPEN_TREE_ATTR = '467';

const CLONE = {
  time: 0x80,
  thread: 0x10000,
  mount: 0x20000,
  cgroup: 0x2000000,
  uts: 0x4000000,
  ipc: 0x8000000,
  user: 0x10000000,
  pid: 0x20000000,
  net: 0x40000000,
};
export const SIGCHLD = 17;
/** What lies above the 32 bits that the kernel looks at. */
const HIGH = '0x100000000';
const withHigh = (value: number) => `0x1${value.toString(16).padStart(8, '0')}`;

const socket = (family: number, type: number, protocol: number) => `socket,${family},${type},${protocol}`;
const [UNIX, INET, NETLINK, INET6, PACKET, ALG, BLUETOOTH, VSOCK, XDP] = [1, 2, 16, 10, 17, 38, 31, 40, 44];
const [STREAM, DGRAM, RAW, SEQPACKET, DCCP, OLD_PACKET] = [1, 2, 3, 5, 6, 10];
const [NONBLOCK, CLOEXEC] = [0o4000, 0o2000000];

/** NAME,A0,A1,A2 of calls that the profile of agents refuses, on every architecture. */
export const REFUSED: readonly string[] = [
  ...'ptrace process_vm_readv process_vm_writev process_madvise move_pages migrate_pages pidfd_getfd kcmp'.split(
    ' ',
  ),
  'seccomp,1,8',
  'seccomp,1,9',
  `seccomp,${withHigh(1)},8`,
  'personality,0',
  'personality,0x40000',
  'personality,0x80040000',
  'personality,0xfffffffe',
  `personality,${HIGH}`,
  ...Object.values(CLONE)
    .filter((flag) => flag !== CLONE.thread)
    .map((flag) => `unshare,${flag}`),
  `unshare,${CLONE.user | CLONE.net}`,
  ...Object.values(CLONE)
    .filter((flag) => flag !== CLONE.thread && flag !== CLONE.time)
    .map((flag) => `clone,${flag | SIGCHLD}`),
  `clone,${withHigh(CLONE.user | SIGCHLD)}`,
  ...'setns mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr'.split(
    ' ',
  ),
  OPEN_TREE_ATTR,
  'open_by_handle_at',
  'name_to_handle_at',
  'fanotify_init',
  ...[PACKET, ALG, BLUETOOTH, VSOCK, XDP, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 29, 30, 45, 99].map(
    (family) => socket(family, DGRAM, 0),
  ),
  `socket,${withHigh(PACKET)},${RAW},3`,
  `socket,${withHigh(INET)},${STREAM},0`,
  `socket,${withHigh(INET)},${RAW},1`,
  ...[INET, INET6].flatMap((family) => [
    ...[RAW, RAW | CLOEXEC, RAW | NONBLOCK | CLOEXEC, SEQPACKET, DCCP, 4].map((type) =>
      socket(family, type, 0),
    ),
    ...[33, 58, 115, 132, 136, 255, 262].map((protocol) => socket(family, DGRAM, protocol)),
  ]),
  socket(INET, OLD_PACKET, 0),
  ...[1, 4, 9, 12, 15, 16].map((protocol) => socket(NETLINK, RAW, protocol)),
  `socketpair,${INET},1`,
  `socketpair,30,5`,
  ...[0x5412, 0x541c, 0x5423].flatMap((request) => [`ioctl,0,${request}`, `ioctl,0,${withHigh(request)}`]),
  ...'bpf perf_event_open userfaultfd lookup_dcookie vhangup syslog kexec_load kexec_file_load init_module'.split(
    ' ',
  ),
  ...'finit_module delete_module reboot swapon swapoff sethostname setdomainname acct quotactl quotactl_fd'.split(
    ' ',
  ),
  ...'settimeofday clock_settime keyctl add_key request_key'.split(' '),
];

/** What it leaves. */
export const LEFT: readonly string[] = [
  `personality,0xffffffff`,
  'personality,0xffffffffffffffff',
  'unshare,0x400',
  `clone,${SIGCHLD}`,
  `clone,${0x80 | CLONE.thread}`,
  'seccomp,1,0',
  'seccomp,2,8',
  socket(UNIX, STREAM, 0),
  socket(UNIX, SEQPACKET | CLOEXEC, 0),
  socket(NETLINK, RAW | CLOEXEC, 0),
  ...[INET, INET6].flatMap((family) => [
    socket(family, STREAM | NONBLOCK | CLOEXEC, 0),
    socket(family, STREAM, 6),
    socket(family, DGRAM | CLOEXEC, 17),
  ]),
  `socketpair,${UNIX},1`,
  'ioctl,0,0x5401',
  'ioctl,0,0x5413',
  'memfd_create',
  'pidfd_open',
  'pidfd_send_signal',
  'execveat',
  'adjtimex',
  'landlock_restrict_self',
];

/** What it says does not exist. Really made, with arguments that come to nothing where the call exists. */
export const ABSENT: readonly string[] = [
  '!clone3,0,0',
  '!io_uring_setup,0,0',
  '!io_uring_enter,-1',
  '!io_uring_register,-1',
  '!vmsplice,-1',
  '!470',
  '!1000',
];

/** Of system-calls.c: the numbers of all calls by name, for the architecture that it is compiled for. */
export function callsHeader(calls: readonly string[]): string {
  const names = calls
    .map((call) => call.replace('!', '').split(',')[0] ?? '')
    .filter((name) => /^[a-z]/.test(name));
  return [...new Set(names)].map((name) => `CALL(${name}),\n`).join('');
}

/** What each call was answered. */
export function answersTo(calls: readonly string[], output: string): Readonly<Record<string, string>> {
  const answers = output.trimEnd().split('\n');
  if (answers.length !== calls.length) throw new Error(`${answers.length} answers to ${calls.length} calls`);
  return Object.fromEntries(calls.map((call, index) => [call, answers[index] ?? '']));
}

export const all = (calls: readonly string[], answer: string | number): Readonly<Record<string, string>> =>
  Object.fromEntries(calls.map((call) => [call, String(answer)]));

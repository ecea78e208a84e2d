/**
 * The native addon (native/posix), typed. Calls that can block run on libuv's pool and return promises;
 * the others are single quick system calls. Failures throw Error with `code` (symbolic errno) and
 * `syscall`, like Node's own system errors. Descriptors are plain numbers owned by the caller.
 */
import { fileURLToPath } from 'node:url';
import { isBundle } from '../lib/layout.ts';

/** What ownTree() met. Everything but `seen` and `changed` was left as it was. */
export interface OwnedTree {
  /** Entries, the root included, without those on other mounts. */
  readonly seen: number;
  readonly changed: number;
  /** Places of other mounts, which are not entered. */
  readonly mounts: number;
  /** Those of them that are read-only. */
  readonly readOnlyMounts: number;
  /** Entries that answered EROFS. */
  readonly readOnly: number;
  /** Files with further names, which may lie outside the tree, and an owner from whom they must not be taken. */
  readonly linked: number;
  /** Device nodes: their owner opens the device. */
  readonly devices: number;
  /** Entries that went away, were exchanged, or whose directory was moved while they were looked at. */
  readonly moved: number;
  /** Why the walk ended early, and where below the root. */
  readonly failure?: { readonly code: string; readonly syscall: string; readonly path: string };
}

export interface SeenProcess {
  readonly pid: number;
  /** Clock ticks since boot: with the pid it names one process for ever. */
  readonly startTime: string;
  /** What /proc/pid/exe leads to, with the kernel's mark where it was unlinked. */
  readonly executable: string;
  /** Of the executable, names one content: device, inode, size, mtime and ctime, which no user can set back. */
  readonly fingerprint: string;
}

/** How a tunnel that was spliced has ended; both its sockets are then shut or reset. */
export interface SplicedEnd {
  /** `half-idle`: idle after one side had ended. `broken`: one side was reset, or failed; the other is reset too. */
  readonly how: 'closed' | 'broken' | 'idle' | 'half-idle' | 'cancelled';
  /** Given to the upstream, and taken from it. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  /** For `broken`: which side, and the symbolic errno. */
  readonly side: 'client' | 'upstream';
  readonly code: string;
}

declare const spliceRelay: unique symbol;

/** What spliceStart() gives. */
export interface SpliceRelay {
  readonly [spliceRelay]: true;
}

/** The directions of a tunnel, as bits. */
export const SPLICE_OUT = 1;
export const SPLICE_IN = 2;

export interface Posix {
  /** prctl(2) PR_SET_DUMPABLE 0: no core, no ptrace or /proc access by the same user. */
  setUndumpable(): void;
  /** openat2(2); `flags`, `mode` and `resolve` are the kernel's numbers. CLOEXEC is always added. */
  openat2(directory: number, path: string, flags: number, mode: number, resolve: number): number;
  /**
   * What the kernel calls the end of a path's links, all of them taken as in a chroot at `root` (openat2(2), RESOLVE_IN_ROOT and
   * RESOLVE_NO_MAGICLINKS). Opens nothing: a device is not touched. Waits in the pool where a file system does not answer.
   */
  followInRoot(root: number, path: string): Promise<string>;
  mkdirat(directory: number, name: string, mode: number): void;
  /** socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC): both ends. */
  socketPair(): [number, number];
  /** pipe2(O_CLOEXEC): read end, write end. */
  pipe(): [number, number];
  /**
   * Starts `program` with one argument, an empty environment and `streams` as its standard streams (each either its own number
   * or 3 and up), in `/`, as a member of the cgroup whose directory is `cgroup`. Gives its pid, which is ours until reap(), and
   * a descriptor of the process. Throws where the kernel is older than 5.7 or does not let it.
   */
  spawnInto(
    program: string,
    argument: string,
    streams: readonly [number, number, number],
    cgroup: number,
  ): [pid: number, process: number];
  /** Exit code and signal of such a process, one of them 0; undefined while it runs. */
  reap(process: number): [code: number, signal: number] | undefined;
  /** cfmakeraw(3) on a terminal; Node's own raw mode goes on turning line feeds into CR LF. */
  makeRaw(terminal: number): void;
  /** Sends up to 253 descriptors in one message (SCM_RIGHTS, one payload byte); throws EAGAIN rather than wait. */
  sendDescriptors(socket: number, descriptors: readonly number[]): void;
  /** Receives exactly `count` descriptors sent with SCM_RIGHTS; the payload byte per message is dropped. */
  receiveDescriptors(socket: number, count: number, timeoutMs: number): Promise<number[]>;
  /** The same of descriptors that lie in the socket already; throws ETIMEDOUT where they do not. */
  takeDescriptors(socket: number, count: number): number[];
  /** bind+listen on a pathname Unix stream socket; the mode is set before the socket can be reached. */
  listenUnix(path: string, mode: number): number;
  /**
   * One launch: accepts on `listener` until a peer with `pid` comes (others are closed), sends spec and descriptors
   * in the framing of native/README.md, then reads the status record until end of file.
   * Resolves to the record's bytes; empty means the command was executed.
   */
  serveLaunch(
    listener: number,
    pid: number,
    spec: Uint8Array,
    descriptors: number[],
    timeoutMs: number,
  ): Promise<Uint8Array>;
  /**
   * The same for a spec with a target: resolves to the descriptor of the connection, a stream that is connected or about to be,
   * or to the record of a failure.
   */
  serveConnect(
    listener: number,
    pid: number,
    spec: Uint8Array,
    descriptors: number[],
    timeoutMs: number,
  ): Promise<Uint8Array | number>;
  /** Sends `text` to the Unix datagram socket at a pathname, or at an abstract name where it begins with `@`. Never waits. */
  sendDatagram(path: string, text: string): void;
  /**
   * Sends one datagram of an IP protocol to an address (IPv6: with `%interface` where it is link-local). The error's `syscall` is
   * `socket` where there is no such protocol, `connect` where there is no route, and `send` where the datagram was refused.
   */
  probeDatagram(family: 4 | 6, protocol: number, address: string, port: number): void;
  /** SO_PEERCRED of a connected Unix socket; `pid` is 0 for a peer in a pid namespace that cannot be seen from here. */
  peerCredentials(socket: number): { pid: number; uid: number; gid: number };
  /** SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST of an accepted, redirected TCP socket. */
  originalDestination(socket: number, family: 4 | 6): { address: string; port: number };
  /** Ends a TCP connection with a reset at once, whoever else has the socket open; the descriptor is still to be closed. */
  resetConnection(socket: number): void;
  /**
   * Starts a thread that moves bytes between sockets by splice(2), for any number of tunnels. A tunnel ends after `idleMs`
   * without a byte, or after `halfClosedIdleMs` once one side has ended. `onEnd` is called once for each.
   */
  spliceStart(
    idleMs: number,
    halfClosedIdleMs: number,
    onEnd: (
      tunnel: number,
      how: SplicedEnd['how'],
      bytesOut: number,
      bytesIn: number,
      side: SplicedEnd['side'],
      code: string,
    ) => void,
  ): SpliceRelay;
  /**
   * Hands over two connected TCP sockets, which must be kept open, and neither read nor written, until the tunnel has ended.
   * `ways` has the directions that may begin; spliceBegin() adds others. Gives the tunnel's number.
   */
  spliceTunnel(relay: SpliceRelay, client: number, upstream: number, ways: number): number;
  spliceBegin(relay: SpliceRelay, tunnel: number, ways: number): void;
  /** Resets both sides, if it has not ended. */
  spliceCancel(relay: SpliceRelay, tunnel: number): void;
  /** Cancels all, and ends the thread; nothing can be handed over any more. */
  spliceStop(relay: SpliceRelay): void;
  /** Inode and uid of the workload's end of a TCP connection, by sock_diag(7) on `diag`, a socket born in its namespace. */
  tcpSocket(
    diag: number,
    family: 4 | 6,
    localAddress: string,
    localPort: number,
    remoteAddress: string,
    remotePort: number,
  ): { inode: string; uid: number } | undefined;
  /**
   * Processes with a thread in the network namespace of inode `namespaceInode` that holds `socket:[socketInode]` open.
   * On the pool, because an agent decides how long the search is; more than 256 owners fail with `E2BIG`. A process with more
   * system call filters than `ownFilters` that does not show what it holds fails it with `EACCES`; -1 looks for none.
   */
  socketOwners(socketInode: string, namespaceInode: string, ownFilters: number): Promise<number[]>;
  /**
   * The process and its ancestors, nearest first, ending below the supervisor and the supervisor's parent, at most 65. Each
   * is read through one descriptor, at its own moment. Rejects when one is gone (`ENOENT`, `ESRCH`) or malformed (`EPROTO`).
   */
  lineage(pid: number, supervisorPid: number): Promise<[SeenProcess, ...SeenProcess[]]>;
  /** Calls back on each readability of `socket` until the returned function is called. */
  watchReadable(socket: number, onReadable: () => void): () => void;
  /** The same of when something can be written, which comes again and again. */
  watchWritable(socket: number, onWritable: () => void): () => void;
  /** Whether a socket that was told to connect has done so; throws what it failed with, once. */
  connected(socket: number): boolean;
  /** Non-blocking recv(2); undefined when there is nothing to read. */
  receive(socket: number, maxBytes: number): Uint8Array | undefined;
  /**
   * Gives the directory behind `descriptor` (O_PATH will do) and everything below it, on its mount, to one owner. Links
   * are changed themselves and never followed. Entries that are right already are not touched. `threads` is cut to a
   * sensible number. With `survey` 1 nothing is changed, and the walk ends at the first entry that would be.
   */
  ownTree(descriptor: number, uid: number, gid: number, threads: number, survey: 0 | 1): Promise<OwnedTree>;
  /**
   * Descriptor of a user namespace whose only ids are the given ones, for an id-mapped mount: what is `diskUid` on the disk
   * is `uid` to who looks through the mount. Takes root; no id may be 0.
   */
  mapIds(diskUid: number, diskGid: number, uid: number, gid: number): number;
  /** Tries mount_setattr(2) MOUNT_ATTR_IDMAP on a clone that is attached nowhere. */
  canMapIds(descriptor: number, userNamespace: number): void;
  /**
   * kill(2) by a child that has the real uid of the process, or of the group's leader where `pid` is negative. Takes CAP_SETUID. EINTR where
   * the child did not live to send it.
   */
  signalAsOwner(pid: number, signal: number): void;
  /** Restricts this thread, and all that it starts from now on, to signals among themselves. Landlock ABI 6. */
  scopeSignals(): void;
  /** KILL to everything that this thread has started since scopeSignals(), at once. Throws EPERM without such a scope. */
  killScope(): void;
  /** The ABI version by landlock_create_ruleset(2). Throws ENOSYS, EOPNOTSUPP or EPERM where there is none. */
  landlockAbi(): number;
  /**
   * Makes a socket that was inherited close-on-exec, and tells what it is: whether it is a stream socket that listens, and of a Unix
   * socket the pathname, empty where it has none. Throws EBADF or ENOTSOCK.
   */
  adoptListener(descriptor: number): {
    readonly family: 'unix' | 'ipv4' | 'ipv6' | 'other';
    readonly isListening: boolean;
    readonly path: string;
  };
  /** Closes a descriptor that no Node object owns. */
  close(descriptor: number): void;
}

const addonPath = fileURLToPath(
  new URL(isBundle ? '../native/posix.node' : '../../build/posix.node', import.meta.url),
);
let loaded: Posix | undefined;

/** Loads the addon at first use, so that `--help` works where it was never built. */
export function posix(): Posix {
  if (loaded === undefined) {
    const module: { exports: unknown } = { exports: {} };
    // Not by require(), which would look for a package.json in every directory above, an image's too.
    process.dlopen(module, addonPath);
    loaded = module.exports as Posix;
  }
  return loaded;
}

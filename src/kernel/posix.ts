/**
 * The native addon (native/posix), typed. Calls that can block run on libuv's pool and return promises;
 * the others are single quick system calls. Failures throw Error with `code` (symbolic errno) and
 * `syscall`, like Node's own system errors. Descriptors are plain numbers owned by the caller.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface Posix {
  /** prctl(2) PR_SET_DUMPABLE 0: no core, no ptrace or /proc access by the same user. */
  setUndumpable(): void;
  /** openat2(2); `flags`, `mode` and `resolve` are the kernel's numbers. CLOEXEC is always added. */
  openat2(directory: number, path: string, flags: number, mode: number, resolve: number): number;
  mkdirat(directory: number, name: string, mode: number): void;
  /** socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC): both ends. */
  socketPair(): [number, number];
  /** pipe2(O_CLOEXEC): read end, write end. */
  pipe(): [number, number];
  /** cfmakeraw(3) on a terminal; Node's own raw mode goes on turning line feeds into CR LF. */
  makeRaw(terminal: number): void;
  /** Receives exactly `count` descriptors sent with SCM_RIGHTS; the payload byte per message is dropped. */
  receiveDescriptors(socket: number, count: number, timeoutMs: number): Promise<number[]>;
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
  /** SO_PEERCRED of a connected Unix socket. */
  peerCredentials(socket: number): { pid: number; uid: number; gid: number };
  /** SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST of an accepted, redirected TCP socket. */
  originalDestination(socket: number, family: 4 | 6): { address: string; port: number };
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
   * On the pool, because an agent decides how long the search is; more than 256 owners fail with `E2BIG`.
   */
  socketOwners(socketInode: string, namespaceInode: string): Promise<number[]>;
  /** Calls back on each readability of `socket` until the returned function is called. */
  watchReadable(socket: number, onReadable: () => void): () => void;
  /** Non-blocking recv(2); undefined when there is nothing to read. */
  receive(socket: number, maxBytes: number): Uint8Array | undefined;
  /** Restricts this thread, and all that it starts from now on, to signals among themselves. Landlock ABI 6. */
  scopeSignals(): void;
  /** KILL to everything that this thread has started since scopeSignals(), at once. Throws EPERM without such a scope. */
  killScope(): void;
  /** The ABI version by landlock_create_ruleset(2). Throws ENOSYS, EOPNOTSUPP or EPERM where there is none. */
  landlockAbi(): number;
  /** Closes a descriptor that no Node object owns. */
  close(descriptor: number): void;
}

const addonPath = fileURLToPath(new URL('../../build/posix.node', import.meta.url));
let loaded: Posix | undefined;

/** Loads the addon at first use, so that `--help` works where it was never built. */
export function posix(): Posix {
  loaded ??= createRequire(import.meta.url)(addonPath) as Posix;
  return loaded;
}

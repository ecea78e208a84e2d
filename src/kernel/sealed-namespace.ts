/**
 * The sealed network namespace of one sandbox: made by castellan-netns, held by its descriptors. When the last
 * descriptor and the last process in it are gone, the kernel takes everything away by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, fstatSync, writeSync } from 'node:fs';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { linkBatch, PAIR_ADDRESS_4, PAIR_ADDRESS_6 } from './link-batch.ts';
import type { NetworkEntrance } from './network-entrance.ts';
import { nftRuleset } from './nft-ruleset.ts';
import { posix } from './posix.ts';

/** Where the agent's proxy variables point. */
export const PROXY_PORT = 3128;
/** Where the ruleset sends TCP that ignores the proxy. */
export const TRANSPARENT_PORT = 15001;
/** Where the ruleset sends DNS. */
export const DNS_PORT = 15053;
export const NFLOG_GROUP = 5;

/** ip and nft need about 50 ms together; a machine this slow cannot run an agent. */
const CREATE_TIMEOUT_MS = 20_000;
/** The helper has ended, so that its answer lies in the socket: this only bounds a broken one. */
const ANSWER_TIMEOUT_MS = 1_000;
const REQUEST_MAGIC = 0x534e5343;
/** The helper's failure is one line of at most 600 bytes. */
const MAX_COMPLAINT_BYTES = 4096;

export interface SealedNamespaceOptions {
  /** Makes a user namespace too, for callers without CAP_SYS_ADMIN. */
  readonly userNamespace: boolean;
  /** Absolute paths: of castellan-netns, ip(8) and nft(8). */
  readonly helper: string;
  readonly ip: string;
  readonly nft: string;
  /** Of the inner pair; a name of its own lets a later start recognise the processes of a dead run. */
  readonly interfaceName?: string;
  /** Root may have the helper run as somebody else. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  readonly signal?: AbortSignal;
}

export interface SealedNamespace extends NetworkEntrance, Disposable {
  readonly networkDescriptor: number;
  /** Of a mount namespace that is a copy of this process's, for the view of the sandbox. */
  readonly mountDescriptor: number;
  /** Present exactly when a user namespace was asked for. */
  readonly userDescriptor: number | undefined;
}

/**
 * Makes the namespace, its links, ruleset and sockets.
 * @throws CastellanError `namespace_failed` with the helper's step (`namespace/links` and the like) and errno.
 */
export async function createSealedNamespace(options: SealedNamespaceOptions): Promise<SealedNamespace> {
  const ipv6 = existsSync('/proc/net/if_inet6');
  const sockets = socketPlan(ipv6);
  const plan = request(options, ipv6, sockets);
  const [mine, theirs] = posix().socketPair();
  try {
    const result = await runHelper(options, theirs, () => writeSync(mine, plan));
    if (result.code !== 0) throw helperFailure(result, options);
    const count = 2 + (options.userNamespace ? 1 : 0) + sockets.length;
    return assemble(
      await posix().receiveDescriptors(mine, count, ANSWER_TIMEOUT_MS),
      options.userNamespace,
      sockets,
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error instanceof CastellanError
      ? error
      : failure('namespace/answer', errnoOf(error), options.helper, error);
  } finally {
    posix().close(mine);
  }
}

interface PlannedSocket {
  readonly use: 'proxy' | 'transparent' | 'dnsUdp' | 'dnsTcp' | 'nflog' | 'diag' | 'guard';
  readonly line: string;
}

function socketPlan(ipv6: boolean): PlannedSocket[] {
  const families: readonly (readonly [4 | 6, string])[] = [
    [4, '127.0.0.1'],
    ...(ipv6 ? ([[6, '::1']] as const) : []),
  ];
  const loopback = (use: PlannedSocket['use'], protocol: 'tcp' | 'udp', port: number): PlannedSocket[] =>
    families.map(([family, address]) => ({ use, line: `${protocol}${family} ${address} ${port}` }));
  return [
    ...loopback('proxy', 'tcp', PROXY_PORT),
    ...loopback('transparent', 'tcp', TRANSPARENT_PORT),
    ...loopback('dnsUdp', 'udp', DNS_PORT),
    ...loopback('dnsTcp', 'tcp', DNS_PORT),
    { use: 'nflog', line: `nflog ${NFLOG_GROUP}` },
    { use: 'diag', line: 'diag' },
    // libuv marks every UDP socket it is given as shareable (uv_udp_open). These, which it never sees, overlap with the
    // resolver's and so keep the agent from binding its address.
    { use: 'guard', line: `udp4 0.0.0.0 ${DNS_PORT}` },
    ...(ipv6 ? [{ use: 'guard', line: `udp6 :: ${DNS_PORT}` } as const] : []),
  ];
}

function request(options: SealedNamespaceOptions, ipv6: boolean, sockets: readonly PlannedSocket[]): Buffer {
  const ruleset = nftRuleset({
    transparentPort: TRANSPARENT_PORT,
    dnsPort: DNS_PORT,
    nflogGroup: NFLOG_GROUP,
    ownAddress4: PAIR_ADDRESS_4,
    ownAddress6: PAIR_ADDRESS_6,
  });
  const lines = sockets.map((socket) => socket.line).join('\n');
  const links = linkBatch({ ipv6, interfaceName: options.interfaceName ?? 'castellan0' });
  const texts = [links, ruleset, lines, options.ip, options.nft].map((text) => Buffer.from(text));
  return Buffer.concat([uint32(REQUEST_MAGIC), ...texts.flatMap((text) => [uint32(text.length), text])]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

interface HelperResult {
  readonly code: number | null;
  readonly complaint: string;
  /** Set when it could not be started, or was stopped. */
  readonly error: Error | undefined;
}

/** Starts the helper with `socket` as its descriptor 3, closes `socket` here, sends the request, waits for the end. */
async function runHelper(
  options: SealedNamespaceOptions,
  socket: number,
  send: () => void,
): Promise<HelperResult> {
  const timeout = AbortSignal.timeout(CREATE_TIMEOUT_MS);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  const child = startHelper(options, socket, signal);
  return await new Promise((resolve) => {
    let complaint = '';
    let error: Error | undefined;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(0, MAX_COMPLAINT_BYTES);
    });
    child.on('error', (reason) => {
      error = reason;
      if (child.pid === undefined) resolve({ code: null, complaint, error });
    });
    child.on('close', (code) => resolve({ code, complaint, error }));
    try {
      send();
    } catch {
      // A helper that ended early says why by itself.
    }
  });
}

function startHelper(options: SealedNamespaceOptions, socket: number, signal: AbortSignal): ChildProcess {
  try {
    return spawn(options.helper, ['3', ...(options.userNamespace ? ['--user-namespace'] : [])], {
      env: {},
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe', socket],
      signal,
      killSignal: 'SIGKILL',
      ...options.runAs,
    });
  } finally {
    posix().close(socket);
  }
}

function helperFailure(result: HelperResult, options: SealedNamespaceOptions): CastellanError {
  if (result.error !== undefined) {
    const errno = result.error.name === 'AbortError' ? 'ETIMEDOUT' : errnoOf(result.error);
    return failure('namespace/helper', errno, options.helper, result.error);
  }
  const [, step = 'helper', errno = '-', detail = ''] = /^(\S+) (\S+) (.*)/.exec(result.complaint) ?? [];
  const object = detail === '' ? options.helper : escapeText(detail);
  return failure(`namespace/${step}`, errno === '-' ? undefined : errno, object);
}

function failure(step: string, errno: string | undefined, object: string, cause?: unknown): CastellanError {
  const message = `the sealed namespace could not be made: ${object}${errno === undefined ? '' : ` (${errno})`}`;
  return new CastellanError('namespace_failed', message, { step, object, ...(errno && { errno }), cause });
}

function assemble(
  descriptors: readonly number[],
  userNamespace: boolean,
  sockets: readonly PlannedSocket[],
): SealedNamespace {
  const [networkDescriptor, mountDescriptor, ...rest] = descriptors as [number, number, ...number[]];
  const userDescriptor = userNamespace ? rest.shift() : undefined;
  const of = (use: PlannedSocket['use']): number[] => rest.filter((_, index) => sockets[index]?.use === use);
  const [nflog, diag] = [...of('nflog'), ...of('diag')] as [number, number];
  const open = new Set(descriptors);
  const close = (which: Iterable<number>): void => {
    for (const descriptor of which) if (open.delete(descriptor)) posix().close(descriptor);
  };
  const listeners = {
    proxy: of('proxy'),
    transparent: of('transparent'),
    dnsUdp: of('dnsUdp'),
    dnsTcp: of('dnsTcp'),
    nflog,
  };
  return {
    networkDescriptor,
    mountDescriptor,
    userDescriptor,
    inode: fstatSync(networkDescriptor, { bigint: true }).ino.toString(),
    listeners,
    diag,
    closeListeners: () => close(Object.values(listeners).flat()),
    [Symbol.dispose]: () => close(descriptors),
  };
}

/** Speaks with castellan-netns (native/README.md): a request with texts, an answer of descriptors. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { posix } from './posix.ts';

/** ip and nft need about 50 ms together; a machine this slow cannot run an agent. */
const CREATE_TIMEOUT_MS = 20_000;
/** The helper has ended, so that its answer lies in the socket: this only bounds a broken one. */
const ANSWER_TIMEOUT_MS = 1_000;
const REQUEST_MAGIC = 0x534e5343;
/** The helper's failure is one line of at most 600 bytes. */
const MAX_COMPLAINT_BYTES = 4096;

export interface NetnsHelperOptions {
  /** Absolute path of castellan-netns. */
  readonly helper: string;
  readonly flag?: '--user-namespace' | '--here' | undefined;
  /** Root may have the helper run as somebody else. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  readonly signal?: AbortSignal;
}

/** The five texts of a request. */
export interface NetnsRequest {
  readonly links: string;
  readonly ruleset: string;
  /** One socket a line. */
  readonly sockets: readonly string[];
  readonly ip: string;
  readonly nft: string;
}

/**
 * Has the request carried out, and gives the `count` descriptors of the answer.
 * @throws CastellanError `namespace_failed` with the helper's step (`namespace/links` and the like) and errno.
 */
export async function askNetnsHelper(
  options: NetnsHelperOptions,
  request: NetnsRequest,
  count: number,
): Promise<readonly number[]> {
  const plan = encode(request);
  const [mine, theirs] = posix().socketPair();
  try {
    const result = await runHelper(options, theirs, () => writeSync(mine, plan));
    if (result.code !== 0) throw helperFailure(result, options);
    return await posix().receiveDescriptors(mine, count, ANSWER_TIMEOUT_MS);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error instanceof CastellanError
      ? error
      : failure('namespace/answer', errnoOf(error), options.helper, error);
  } finally {
    posix().close(mine);
  }
}

function encode({ links, ruleset, sockets, ip, nft }: NetnsRequest): Buffer {
  const texts = [links, ruleset, sockets.join('\n'), ip, nft].map((text) => Buffer.from(text));
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
  options: NetnsHelperOptions,
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

function startHelper(options: NetnsHelperOptions, socket: number, signal: AbortSignal): ChildProcess {
  try {
    return spawn(options.helper, ['3', ...(options.flag === undefined ? [] : [options.flag])], {
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

function helperFailure(result: HelperResult, options: NetnsHelperOptions): CastellanError {
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

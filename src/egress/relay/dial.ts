import { connect, type Socket } from 'node:net';
import { errnoOf } from '../../errors.ts';
import { formatAuthority } from '../accept/authority.ts';
import type { EgressLimits } from '../limits.ts';
import type { ApprovedAddress, Refusal, UpstreamProxyHop } from '../stages.ts';
import { type ProxyRoute, wantsCredentials } from './upstream-proxy.ts';

export type DialResult =
  | {
      readonly ok: true;
      readonly socket: Socket;
      readonly address: string;
      readonly proxy?: UpstreamProxyHop | undefined;
    }
  | { readonly ok: false; readonly refusal: Refusal };

export interface DialOptions {
  readonly signal: AbortSignal;
  readonly limits: EgressLimits;
  /** The name that the addresses are of. */
  readonly host?: string;
  /** Undefined where the network has none. */
  readonly upstreamProxy?: ProxyRoute | undefined;
}

/** One way to the origin. */
interface Way {
  readonly target: ApprovedAddress;
  readonly proxy: ProxyRoute | undefined;
}

interface Failure {
  readonly detail: string;
  readonly timedOut: boolean;
  readonly proxy: ProxyRoute | undefined;
  readonly proxyStatus?: number | undefined;
}

/**
 * Connects to the first of the addresses that answers (RFC 8305: families in turn, the next attempt beside the last after
 * a short delay), each by itself or through the operator's proxy. Never rejects.
 */
export function dial(addresses: readonly ApprovedAddress[], options: DialOptions): Promise<DialResult> {
  const { signal, limits, host = '' } = options;
  return new Promise((resolve) => {
    const waiting = waysTo(addresses, options);
    const throughProxy = waiting[0]?.proxy;
    const attempts = new Set<Disposable>();
    const failures: Failure[] = [];
    let stagger: NodeJS.Timeout | undefined;
    const finish = (result: DialResult): void => {
      clearTimeout(stagger);
      clearTimeout(deadline);
      signal.removeEventListener('abort', onAbort);
      waiting.length = 0;
      for (const attempt of attempts) attempt[Symbol.dispose]();
      resolve(result);
    };
    const giveUp = (detail: string, timedOut: boolean): void =>
      finish(failed([...failures, { detail, timedOut, proxy: throughProxy }], timedOut));
    const deadline = setTimeout(() => giveUp(`no answer within ${limits.dialMs} ms`, true), limits.dialMs);
    const onAbort = (): void => giveUp('the client went away', false);
    const next = (): void => {
      clearTimeout(stagger);
      const way = waiting.shift();
      if (way === undefined) {
        if (attempts.size === 0)
          finish(
            failed(
              failures,
              failures.every(({ timedOut }) => timedOut),
            ),
          );
        return;
      }
      const attempt = start(way, host, limits, (outcome) => {
        attempts.delete(attempt);
        if ('socket' in outcome) return finish({ ok: true, ...outcome });
        failures.push(outcome);
        if (wantsCredentials(outcome.proxyStatus)) waiting.length = 0;
        next();
      });
      attempts.add(attempt);
      if (waiting.length > 0) stagger = setTimeout(next, staggerMs(way, limits));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else next();
  });
}

/** By name there is one way through the proxy: which address it then takes is its own affair. */
function waysTo(
  addresses: readonly ApprovedAddress[],
  { limits, host = '', upstreamProxy }: DialOptions,
): Way[] {
  const ways = alternateFamilies(addresses)
    .slice(0, limits.dialAddresses)
    .map((target) => ({ target, proxy: upstreamProxy?.leadsTo(host, target) ? upstreamProxy : undefined }));
  const byName = ways.findIndex(({ proxy }) => proxy?.byHostName);
  return ways.filter(({ proxy }, index) => !proxy?.byHostName || index === byName);
}

/** A proxy dials for itself: it is asked for another address when it has failed, or is far behind. */
function staggerMs({ proxy }: Way, limits: EgressLimits): number {
  return proxy === undefined ? limits.dialStaggerMs : limits.upstreamProxyStaggerMs;
}

type WayOutcome = Omit<Extract<DialResult, { ok: true }>, 'ok'> | Failure;

/** `done` hears once, later, and not after the disposal. */
function start(
  { target, proxy }: Way,
  host: string,
  limits: EgressLimits,
  done: (outcome: WayOutcome) => void,
): Disposable {
  const { address, port } = target;
  if (proxy === undefined)
    return startAttempt(target, limits.dialAddressMs, (socket, error) => {
      if (error === undefined) return done({ socket, address });
      const errno = errnoOf(error);
      const detail = `${address} port ${port}: ${errno ?? error.message}`;
      done({ detail, timedOut: errno === 'ETIMEDOUT', proxy });
    });
  const authority = formatAuthority({ host: proxy.byHostName ? host : address, port });
  const hop = { host: proxy.host, port: proxy.port, byHostName: proxy.byHostName };
  return proxy.connect(authority, (answer) => {
    if (answer.ok) return done({ socket: answer.socket, address, proxy: hop });
    const { detail, timedOut, status } = answer;
    done({ detail, timedOut, proxy, proxyStatus: status });
  });
}

function startAttempt(
  { address, family, port }: ApprovedAddress,
  timeoutMs: number,
  done: (socket: Socket, error?: Error) => void,
): Disposable {
  const socket = connect({ host: address, family, port, noDelay: true, allowHalfOpen: true });
  const timedOut = Object.assign(new Error('connect timed out'), { code: 'ETIMEDOUT' });
  const timer = setTimeout(() => socket.destroy(timedOut), timeoutMs);
  let settled = false;
  const settle = (error?: Error): void => {
    clearTimeout(timer);
    if (settled) return;
    settled = true;
    done(socket, error);
  };
  socket.once('connect', () => settle());
  // Stays, so that a later reset finds a listener whatever stage owns the socket.
  socket.on('error', settle);
  socket.once('close', () => {
    clearTimeout(timer);
    settled = true;
  });
  return { [Symbol.dispose]: () => void socket.destroy() };
}

/** IPv6 and IPv4 in turn, starting with the family the resolver put first. */
function alternateFamilies(addresses: readonly ApprovedAddress[]): ApprovedAddress[] {
  const first = addresses[0]?.family;
  const preferred = addresses.filter(({ family }) => family === first);
  const others = addresses.filter(({ family }) => family !== first);
  return preferred
    .flatMap((address, index) => [address, ...others.slice(index, index + 1)])
    .concat(others.slice(preferred.length));
}

function failed(failures: readonly Failure[], timedOut: boolean): DialResult {
  const detail = failures.map((failure) => failure.detail).join('; ');
  const last = failures.at(-1);
  const status = timedOut ? 504 : 502;
  if (last?.proxy === undefined)
    return {
      ok: false,
      refusal: {
        result: 'failed',
        status,
        error: timedOut ? 'upstream_timeout' : 'upstream_unreachable',
        detail,
      },
    };
  const { proxyStatus } = last;
  return {
    ok: false,
    refusal: { result: 'failed', status, error: 'upstream_proxy_failed', detail, proxyStatus },
  };
}

import { connect, type Socket } from 'node:net';
import { errnoOf } from '../../errors.ts';
import type { EgressLimits } from '../limits.ts';
import type { ApprovedAddress, Refusal } from '../stages.ts';

export type DialResult =
  | { readonly ok: true; readonly socket: Socket; readonly address: string }
  | { readonly ok: false; readonly refusal: Refusal };

interface DialOptions {
  readonly signal: AbortSignal;
  readonly limits: EgressLimits;
}

/**
 * Connects to the first of the addresses that answers (RFC 8305: families in turn, the next attempt beside the last after
 * a short delay). Never rejects.
 */
export function dial(
  addresses: readonly ApprovedAddress[],
  { signal, limits }: DialOptions,
): Promise<DialResult> {
  return new Promise((resolve) => {
    const waiting = alternateFamilies(addresses).slice(0, limits.dialAddresses);
    const attempts = new Set<Socket>();
    const failures: string[] = [];
    let stagger: NodeJS.Timeout | undefined;
    const finish = (result: DialResult): void => {
      clearTimeout(stagger);
      clearTimeout(deadline);
      signal.removeEventListener('abort', onAbort);
      waiting.length = 0;
      for (const attempt of attempts) attempt.destroy();
      resolve(result);
    };
    const deadline = setTimeout(
      () => finish(failed([`no answer within ${limits.dialMs} ms`], true)),
      limits.dialMs,
    );
    const onAbort = (): void => finish(failed(['the client went away'], false));
    const next = (): void => {
      clearTimeout(stagger);
      const target = waiting.shift();
      if (target === undefined) {
        if (attempts.size === 0)
          finish(
            failed(
              failures,
              failures.every((failure) => failure.endsWith('ETIMEDOUT')),
            ),
          );
        return;
      }
      const socket = startAttempt(target, limits.dialAddressMs, (error) => {
        attempts.delete(socket);
        if (error === undefined) return finish({ ok: true, socket, address: target.address });
        failures.push(`${target.address} port ${target.port}: ${errnoOf(error) ?? error.message}`);
        next();
      });
      attempts.add(socket);
      if (waiting.length > 0) stagger = setTimeout(next, limits.dialStaggerMs);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else next();
  });
}

function startAttempt(
  { address, family, port }: ApprovedAddress,
  timeoutMs: number,
  done: (error?: Error) => void,
): Socket {
  const socket = connect({ host: address, family, port, noDelay: true, allowHalfOpen: true });
  const timedOut = Object.assign(new Error('connect timed out'), { code: 'ETIMEDOUT' });
  const timer = setTimeout(() => socket.destroy(timedOut), timeoutMs);
  let settled = false;
  const settle = (error?: Error): void => {
    clearTimeout(timer);
    if (settled) return;
    settled = true;
    done(error);
  };
  socket.once('connect', () => settle());
  // Stays, so that a later reset finds a listener whatever stage owns the socket.
  socket.on('error', settle);
  socket.once('close', () => {
    clearTimeout(timer);
    settled = true;
  });
  return socket;
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

function failed(failures: readonly string[], timedOut: boolean): DialResult {
  const detail = failures.join('; ');
  return timedOut
    ? { ok: false, refusal: { result: 'failed', status: 504, error: 'upstream_timeout', detail } }
    : { ok: false, refusal: { result: 'failed', status: 502, error: 'upstream_unreachable', detail } };
}

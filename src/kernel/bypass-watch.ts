/** What the sealed namespace refused, read from its NFLOG socket and reported. */
import type { Report } from '../audit/event.ts';
import { parseNflog } from '../protocol/nflog.ts';
import { posix } from './posix.ts';

/** One message a packet; a datagram holds a few at most. */
const MAX_DATAGRAM_BYTES = 65_536;
/** Then the loop turns, so that a full buffer cannot keep connections waiting. */
const MAX_DATAGRAMS_A_TURN = 64;

/**
 * Reports every logged packet as `bypass-refused` until the signal. `descriptor` is the group's NETLINK_NETFILTER
 * socket; it stays the caller's, who closes it after the signal.
 */
export function watchBypass(
  descriptor: number,
  report: Report,
  options: { readonly signal: AbortSignal },
): void {
  const { signal } = options;
  if (signal.aborted) return;
  const stop = posix().watchReadable(descriptor, () => {
    try {
      reportPending(descriptor, report);
    } catch (error) {
      signal.removeEventListener('abort', stop);
      stop();
      report({ kind: 'internal-error', where: 'kernel/bypass-watch', message: String(error) });
    }
  });
  signal.addEventListener('abort', stop, { once: true });
}

function reportPending(descriptor: number, report: Report): void {
  for (let turn = 0; turn < MAX_DATAGRAMS_A_TURN; turn++) {
    const datagram = posix().receive(descriptor, MAX_DATAGRAM_BYTES);
    if (datagram === undefined) return;
    for (const packet of parseNflog(datagram)) report({ kind: 'bypass-refused', ...packet });
  }
}

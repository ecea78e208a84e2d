import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { errnoOf } from '../../errors.ts';
import { type Opening, type ReadOpening, readOpening } from '../accept/opening.ts';
import { breakOff } from '../accept/refusal.ts';
import type { EgressLimits } from '../limits.ts';
import type { Objection, Outcome } from '../stages.ts';
import { watchHello } from './hello-watch.ts';
import type { Splicer } from './splice.ts';

export interface TunnelOptions {
  readonly limits: EgressLimits;
  readonly splicer: Splicer;
  /** What was read from the client already, and judged. Without it, `judge` is asked when the client speaks. */
  readonly opening: ReadOpening | undefined;
  /** `taken`: the client is somebody else's from here on. */
  judge(read: ReadOpening, serverSpoke: boolean): Objection | 'pass' | 'taken';
  /** Judges another ClientHello that the server asks for. */
  judgeHello(opening: Opening): Objection | undefined;
}

/**
 * Moves bytes both ways, each direction until its own end, until both are closed or nothing has moved for long. The server's
 * bytes flow while the client's first are still awaited, so that protocols where the server speaks first work. Once there is
 * nothing left to judge, the kernel moves them. Never rejects.
 */
export async function relayTunnel(
  client: Socket,
  upstream: Socket,
  options: TunnelOptions,
): Promise<Outcome> {
  const bond = joinFates(client, upstream, options.limits);
  const count = counter(upstream);
  let read = options.opening;
  if (read === undefined) {
    upstream.pipe(client);
    read = await readOpening(client, options.limits);
    const judgement = options.judge(read, upstream.bytesRead > 0);
    if (judgement !== 'pass') {
      upstream.unpipe(client);
      bond.release();
      upstream.destroy();
      return judgement === 'taken' ? count('closed') : count('denied', judgement.detail);
    }
  }
  const { opening, bytes } = read;
  if (opening.kind === 'tls') {
    const objection = await shakeHands(client, upstream, bytes, bond, options);
    if (objection !== undefined) return count('denied', objection.detail);
  } else if (bytes.length > 0 && upstream.writable) upstream.write(bytes);
  if ([client, upstream].some(isForNode)) {
    upstream.pipe(client);
    client.pipe(upstream);
    const failure = await bond.parted;
    return failure === undefined ? count('closed') : count('failed', failure);
  }
  upstream.unpipe(client);
  bond.release();
  return spliced(client, upstream, count, options);
}

/** One that has ended already: little is left to move, and Node has passed on its end. Or TLS to the operator's proxy. */
function isForNode(socket: Socket): boolean {
  return socket.destroyed || socket.readableEnded || socket instanceof TLSSocket;
}

/** Node moves the bytes of a TLS handshake for as long as another ClientHello may come; gives what is wrong with that one. */
async function shakeHands(
  client: Socket,
  upstream: Socket,
  opening: Buffer,
  bond: Bond,
  { limits, judgeHello }: TunnelOptions,
): Promise<Objection | undefined> {
  const watch = watchHello(client, upstream, { limits, opening, judge: judgeHello });
  if (watch.isFine && upstream.writable) upstream.write(opening);
  // Both may be piped already.
  upstream.unpipe(client);
  upstream.pipe(client);
  client.pipe(upstream);
  const objection = await Promise.race([watch.over, bond.parted.then(() => undefined)]);
  for (const [from, to] of [
    [client, upstream],
    [upstream, client],
  ] as const)
    from.unpipe(to);
  if (objection !== undefined) bond.release();
  return objection;
}

async function spliced(
  client: Socket,
  upstream: Socket,
  count: Counter,
  { splicer, limits }: TunnelOptions,
): Promise<Outcome> {
  try {
    const { how, side, code, bytesOut, bytesIn } = await splicer.splice(client, upstream);
    const failures = {
      closed: undefined,
      cancelled: undefined,
      broken: `${side}: ${code}`,
      idle: `idle for ${limits.tunnelIdleMs} ms`,
      'half-idle': `idle for ${limits.halfClosedIdleMs} ms`,
    };
    const node = count(failures[how] === undefined ? 'closed' : 'failed', failures[how]);
    return { ...node, bytesOut: node.bytesOut + bytesOut, bytesIn: node.bytesIn + bytesIn };
  } catch (error) {
    for (const socket of [client, upstream]) socket.destroy();
    return count('failed', `splice: ${errnoOf(error) ?? String(error)}`);
  }
}

type Counter = (result: Outcome['result'], detail?: string) => Outcome;

/** From here on: what was said to the operator's proxy before is nobody's traffic. What waits to be read is the origin's. */
function counter(upstream: Socket): Counter {
  const { bytesWritten, bytesRead, readableLength } = upstream;
  return (result, detail) => ({
    result,
    bytesOut: upstream.bytesWritten - bytesWritten,
    bytesIn: upstream.bytesRead - bytesRead + readableLength,
    ...(detail !== undefined && { detail }),
  });
}

interface Bond {
  /** Settles when both are closed, with what went wrong. */
  readonly parted: Promise<string | undefined>;
  /** From here on the two have nothing to do with each other. */
  release(): void;
}

/** When one side breaks the other is broken too, and when one is gone the other may only finish what it has been given. */
function joinFates(client: Socket, upstream: Socket, limits: EgressLimits): Bond {
  const { promise: parted, resolve } = Promise.withResolvers<string | undefined>();
  let failure: string | undefined;
  let idleMs = limits.tunnelIdleMs;
  const follow = (from: Socket, to: Socket, name: string): (() => void) => {
    const onError = (error: Error): void => {
      failure ??= `${name}: ${error.message}`;
    };
    const onClose = (broken: boolean): void => {
      if (broken && to.writableLength === 0) breakOff(to);
      else to.destroySoon();
      if (to.closed) resolve(failure);
    };
    // A client that is gone for good looks like one that has only finished speaking.
    const onEnd = (): void => {
      idleMs = limits.halfClosedIdleMs;
      client.setTimeout(idleMs);
      upstream.setTimeout(idleMs);
    };
    const onIdle = (): void => {
      failure ??= `idle for ${idleMs} ms`;
      client.destroy();
      upstream.destroy();
    };
    from.on('error', onError).on('end', onEnd).on('close', onClose).setTimeout(idleMs).on('timeout', onIdle);
    if (from.destroyed) onClose(false);
    return () => {
      from.off('error', onError).off('end', onEnd).off('close', onClose).setTimeout(0).off('timeout', onIdle);
    };
  };
  const releases = [follow(client, upstream, 'client'), follow(upstream, client, 'upstream')];
  return {
    parted,
    release() {
      for (const release of releases) release();
    },
  };
}

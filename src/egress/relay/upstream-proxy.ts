/**
 * The operator's own proxy on the way to origins: which connections go through it, and how it is asked for one. Everything
 * goes by CONNECT, plain HTTP too: the other form names the host, and would leave its look-up and the request's head to the proxy.
 */
import { request } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import type { UpstreamProxy } from '../../config/upstream-proxy.ts';
import { errnoOf } from '../../errors.ts';
import { type Block, contains, parseAddress, parseBlock } from '../../policy/match/address.ts';
import { formatAuthority } from '../accept/authority.ts';
import type { EgressLimits } from '../limits.ts';
import type { ApprovedAddress } from '../stages.ts';

export interface UpstreamProxyOptions {
  /** `user:password`. */
  readonly credentials: string | undefined;
  /** A proxy that is spoken to by TLS is verified like any origin. */
  readonly trust: () => SecureContext;
  readonly limits: EgressLimits;
}

export type ProxyAnswer =
  | { readonly ok: true; readonly socket: Socket }
  | {
      readonly ok: false;
      readonly detail: string;
      readonly timedOut: boolean;
      /** What the proxy answered; undefined where it gave no answer. */
      readonly status: number | undefined;
    };

export interface ProxyRoute {
  /** For the record. */
  readonly host: string;
  readonly port: number;
  readonly byHostName: boolean;
  /** Whether a connection to the host, at the address, goes through the proxy. */
  leadsTo(host: string, target: ApprovedAddress): boolean;
  /** Asks for a connection to `authority`; `done` hears once, and not at all after the disposal. */
  connect(authority: string, done: (answer: ProxyAnswer) => void): Disposable;
}

export function createProxyRoute(proxy: UpstreamProxy, options: UpstreamProxyOptions): ProxyRoute {
  const { host, port, byHostName } = proxy;
  const exempt = compileExceptions(proxy.exceptions);
  return {
    host,
    port,
    byHostName,
    leadsTo: (name, target) => !exempt(name, target),
    connect: (authority, done) => ask(proxy, authority, options, done),
  };
}

function compileExceptions(
  exceptions: UpstreamProxy['exceptions'],
): (host: string, target: ApprovedAddress) => boolean {
  const tests = exceptions.map(({ kind, value, port }) => {
    const block = kind === 'block' ? parseBlock(value) : undefined;
    return (host: string, target: ApprovedAddress): boolean => {
      if (port !== undefined && port !== target.port) return false;
      if (kind === 'block') return block !== undefined && holds(block, target.address);
      return kind === 'any' || (kind === 'domain' && host === value) || host.endsWith(`.${value}`);
    };
  });
  return (host, target) => tests.some((test) => test(host, target));
}

function holds(block: Block, text: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && contains(block, address);
}

function ask(
  proxy: UpstreamProxy,
  authority: string,
  options: UpstreamProxyOptions,
  done: (answer: ProxyAnswer) => void,
): Disposable {
  const { limits, credentials } = options;
  const sockets: Socket[] = [];
  let settled = false;
  const end = (): void => {
    settled = true;
    clearTimeout(timer);
  };
  const fail = (why: string, status?: number, timedOut = false): void => {
    if (settled) return;
    end();
    for (const socket of sockets) socket.destroy();
    const detail = `upstream proxy ${formatAuthority(proxy)}: ${why}`;
    done({ ok: false, detail, timedOut: timedOut || status === 504, status });
  };
  const timer = setTimeout(
    () => fail(`no connection within ${limits.upstreamProxyMs} ms`, undefined, true),
    limits.upstreamProxyMs,
  );
  const onError = (error: Error): void => fail(errnoOf(error) ?? error.message);
  const own = (socket: Socket): void => {
    sockets.push(socket);
    // Stays, so that a later reset finds a listener whatever stage owns the socket.
    socket.on('error', onError);
  };
  const onOpen = (socket: Socket): void => {
    const asking = request({
      method: 'CONNECT',
      path: authority,
      headers: ['Host', authority, ...authorization(credentials), 'Connection', 'keep-alive'],
      createConnection: () => socket,
      maxHeaderSize: limits.upstreamProxyHeadBytes,
      insecureHTTPParser: false,
    });
    asking.on('error', onError);
    asking.once('connect', ({ statusCode: status = 0 }, _socket, head: Buffer) => {
      if (settled) return;
      if (status < 200 || status > 299) return fail(refusalOf(status, authority, credentials), status);
      end();
      // The origin may have spoken already.
      if (head.length > 0) socket.unshift(head);
      done({ ok: true, socket });
    });
    asking.once('close', () => fail('it closed without an answer'));
    asking.end();
  };
  openTransport(proxy, options, { own, onOpen });
  return {
    [Symbol.dispose]() {
      if (settled) return;
      end();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Nothing is sent before the proxy has proved its name. */
function openTransport(
  { scheme, host, port }: UpstreamProxy,
  { trust }: UpstreamProxyOptions,
  { own, onOpen }: { own(socket: Socket): void; onOpen(socket: Socket): void },
): void {
  // The operator's own: its name is looked up by the system, and may lead to any address.
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
  own(socket);
  socket.once('connect', () => {
    if (scheme === 'http') return onOpen(socket);
    const secure = connectTls({
      socket,
      host,
      ...(isIP(host) === 0 && { servername: host }),
      secureContext: trust(),
      ALPNProtocols: ['http/1.1'],
    });
    own(secure);
    secure.once('secureConnect', () => onOpen(secure));
  });
}

function authorization(credentials: string | undefined): string[] {
  if (credentials === undefined) return [];
  return ['Proxy-Authorization', `Basic ${Buffer.from(credentials).toString('base64')}`];
}

/** The same answer would come for every other destination. Some proxies say 401 to credentials that are wrong. */
export function wantsCredentials(status: number | undefined): boolean {
  return status === 407 || status === 401;
}

/** By status alone: what else the proxy says is not for the agent. */
function refusalOf(status: number, authority: string, credentials: string | undefined): string {
  const answered = `it answered ${status} to CONNECT ${authority}`;
  if (wantsCredentials(status))
    return credentials === undefined
      ? `${answered}: it wants credentials (--upstream-proxy-auth-file)`
      : `${answered}: it does not take the credentials of --upstream-proxy-auth-file`;
  return status === 403
    ? `${answered}: it does not allow this destination, or CONNECT to this port`
    : answered;
}

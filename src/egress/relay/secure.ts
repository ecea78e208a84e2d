import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import type { CredentialStore } from '../../credential/store.ts';
import { errnoOf } from '../../errors.ts';
import { FACT_LIMITS } from '../../policy/fact-limits.ts';
import type { EgressLimits } from '../limits.ts';
import type { Arrival, Grant, Reached, Refusal, TlsFacts } from '../stages.ts';
import type { DialResult } from './dial.ts';
import type { Trust } from './trust.ts';

export interface SecureOptions {
  readonly trust: Trust;
  /** Finds the client certificate of a name. */
  readonly credentials: Pick<CredentialStore, 'clientCertificate'>;
  /** By its name: shown to an origin that asks for one. */
  readonly clientCertificate: string | undefined;
  readonly limits: EgressLimits;
}

/**
 * TLS to the origin of a request that came inside TLS, proved for the name that was judged; the connection itself for any
 * other. Never rejects.
 */
export async function secureUpstream(
  dialled: DialResult,
  { intent: { host, port, http }, origins }: Pick<Arrival, 'intent' | 'origins'>,
  { verdict }: Pick<Grant, 'verdict'>,
  { trust, limits, credentials, clientCertificate }: SecureOptions,
): Promise<Reached> {
  if (!dialled.ok) return dialled;
  const isHttp2 = origins?.isHttp2 ?? false;
  const { address, proxy } = dialled;
  // Without TLS a client of HTTP/2 knows beforehand that its origin speaks it (RFC 9113 §3.3).
  if (http?.scheme !== 'https')
    return { ok: true, upstream: { ...dialled, protocol: isHttp2 ? 'h2' : 'http/1.1' } };
  const own = clientCertificate === undefined ? undefined : credentials.clientCertificate(clientCertificate);
  if (clientCertificate !== undefined && own === undefined) {
    dialled.socket.destroy();
    const detail = `no client certificate is known by the name ${clientCertificate}`;
    return { ok: false, refusal: { result: 'failed', status: 500, error: 'credential_unavailable', detail } };
  }
  const { promise, resolve } = Promise.withResolvers<Reached>();
  const context = trust.contextFor(verdict.tlsAuthority, own);
  const place = `${isHttp2 ? 'h2' : 'http/1.1'} ${host}:${port}`;
  const session = trust.sessionFor(context, place);
  const socket = connect({
    socket: dialled.socket,
    host,
    // RFC 6066 §3: addresses are no server names.
    ...(isIP(host) === 0 && { servername: host }),
    secureContext: context,
    ALPNProtocols: isHttp2 ? ['h2', 'http/1.1'] : ['http/1.1'],
    ...(session && { session }),
  });
  const timer = setTimeout(
    () => settle({ ok: false, refusal: failed(504, `no TLS within ${limits.handshakeMs} ms`) }),
    limits.handshakeMs,
  );
  let settled = false;
  const settle = (result: Reached): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    if (!result.ok) {
      if (session !== undefined) trust.forgetSession(context, place);
      socket.destroy();
    }
    resolve(result);
  };
  keepSessions(socket, (newer) => trust.keepSession(context, place, newer, socket.isSessionReused()));
  socket.once('secureConnect', () => {
    const protocol = socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1';
    settle({ ok: true, upstream: { socket, address, protocol, proxy, tls: factsOf(socket, host) } });
  });
  // Stays, so that a later reset finds a listener whatever stage owns the socket.
  socket.on('error', (error) => settle({ ok: false, refusal: failed(502, reasonOf(error)) }));
  socket.once('close', () => settle({ ok: false, refusal: failed(502, 'closed during the TLS handshake') }));
  return promise;
}

/** Before TLS 1.3 a session is there before its certificate has been judged; it is kept once that is done. */
function keepSessions(socket: TLSSocket, keep: (session: Buffer) => void): void {
  let early: Buffer | undefined;
  socket.on('session', (session: Buffer) => {
    if (socket.authorized) keep(session);
    else early = session;
  });
  socket.once('secureConnect', () => {
    if (early !== undefined && socket.authorized) keep(early);
  });
}

function factsOf(socket: TLSSocket, host: string): TlsFacts {
  const certificate = socket.getPeerX509Certificate();
  return {
    version: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().standardName,
    serverName: isIP(host) === 0 ? host : undefined,
    isResumed: socket.isSessionReused(),
    issuer: certificate?.issuer.replaceAll('\n', ', ').slice(0, FACT_LIMITS.tlsText),
    serialNumber: certificate?.serialNumber.slice(0, FACT_LIMITS.tlsText),
  };
}

function failed(status: 502 | 504, detail: string): Refusal {
  return { result: 'failed', status, error: 'upstream_tls_failed', detail: `TLS to the origin: ${detail}` };
}

/** OpenSSL's verification errors have codes such as CERT_HAS_EXPIRED, which say more than the message. */
function reasonOf(error: Error): string {
  const code = errnoOf(error);
  return code === undefined ? error.message : `${code} (${error.message})`;
}

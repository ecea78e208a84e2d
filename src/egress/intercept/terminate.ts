/** The client's TLS, ended here: what is inside is a byte stream like any other. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { EgressLimits } from '../limits.ts';
import type { CertificateAuthority } from './authority.ts';

export type Terminated =
  | { readonly ok: true; readonly socket: TLSSocket }
  | { readonly ok: false; readonly detail: string };

/**
 * Takes over a client whose ClientHello asked for `host` and is still unread. On failure the client has had its alert and is
 * being closed. Never rejects.
 */
export function terminateTls(
  client: Socket,
  host: string,
  authority: CertificateAuthority,
  limits: EgressLimits,
): Promise<Terminated> {
  const { promise, resolve } = Promise.withResolvers<Terminated>();
  const socket = new TLSSocket(client, {
    isServer: true,
    secureContext: authority.contextFor(host),
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  const settle = (result: Terminated): void => {
    clearTimeout(timer);
    resolve(result);
  };
  const fail = (detail: string): void => {
    settle({ ok: false, detail });
    socket.destroy();
  };
  const timer = setTimeout(() => fail(`no handshake within ${limits.handshakeMs} ms`), limits.handshakeMs);
  socket.once('secure', () => {
    // Only tls.Server clears it, and node:http2 waits until it is.
    Object.assign(socket, { secureConnecting: false });
    settle({ ok: true, socket });
  });
  // Stays: a reset may come at any time later.
  socket.on('error', (error) => fail(error.message));
  socket.once('close', () => fail('the client went away'));
  return promise;
}

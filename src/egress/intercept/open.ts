/** A tunnel to a destination whose requests are inspected: TLS is ended, and what is inside goes to the one HTTP port. */
import type { Socket } from 'node:net';
import type { Client } from '../accept/entrance.ts';
import type { HttpPort } from '../accept/http.ts';
import type { ReadOpening } from '../accept/opening.ts';
import { refuseTls } from '../accept/refusal.ts';
import { OPENED, tunnelObjection } from '../accept/tunnel-name.ts';
import type { EgressLimits } from '../limits.ts';
import type { AdapterName, Flow, Objection, Outcome } from '../stages.ts';
import type { CertificateAuthority } from './authority.ts';
import { terminateTls } from './terminate.ts';

export interface OpeningMeans {
  readonly limits: EgressLimits;
  readonly http: HttpPort;
  readonly authority: CertificateAuthority | undefined;
}

/** For whom the tunnel was granted. */
export interface Tunnel {
  readonly client: Client;
  readonly flow: Flow;
  readonly host: string;
  readonly port: number;
  readonly adapter: AdapterName;
}

/** Settles when the client is gone. Never rejects. */
export async function openInspected(
  { client, flow, host, port, adapter }: Tunnel,
  { opening, bytes }: ReadOpening,
  { limits, http, authority }: OpeningMeans,
): Promise<Outcome> {
  const { socket } = client;
  const deny = ({ reason, detail }: Objection): Outcome => {
    refuseTls(socket, limits.lingerMs);
    return { ...transferred(socket), result: 'denied', reason, detail };
  };
  const objection = tunnelObjection(host, OPENED)(opening);
  if (objection !== undefined) return deny(objection);
  const serve = (inner: Socket, scheme: 'http' | 'https', isHttp2: boolean): Promise<Outcome> => {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const ended = (): void => resolve({ ...transferred(socket), result: 'closed' });
    inner.once('close', ended);
    const inside = { name: host, port, opened: { adapter, scheme } };
    (isHttp2 ? http.serveHttp2 : http.serve)({ ...client, socket: inner }, flow, inside);
    if (inner.destroyed) ended();
    return promise;
  };
  socket.unshift(bytes);
  if (opening.kind === 'http' || opening.kind === 'http2')
    return serve(socket, 'http', opening.kind === 'http2');
  if (opening.kind !== 'tls' || authority === undefined)
    return deny({
      reason: 'protocol_not_inspected',
      detail: 'requests to this destination are inspected, and this is neither HTTP nor TLS',
    });
  const terminated = await terminateTls(socket, host, authority, limits);
  if (terminated.ok) return serve(terminated.socket, 'https', terminated.socket.alpnProtocol === 'h2');
  return { ...transferred(socket), result: 'failed', detail: `TLS of the client: ${terminated.detail}` };
}

/** As the client's socket counts them: what it sent is what went out. */
function transferred(socket: Socket): Pick<Outcome, 'bytesOut' | 'bytesIn'> {
  return { bytesOut: socket.bytesRead, bytesIn: socket.bytesWritten };
}

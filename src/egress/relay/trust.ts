/** What origins are verified by, and the TLS sessions that were agreed with them before. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { ClientCertificate } from '../../credential/credential.ts';
import { putLast } from '../../lib/put-last.ts';
import type { TlsAuthority } from '../../policy/document.ts';

export interface Trust {
  /** Undefined: by the authorities of the system. `own` is shown to an origin that asks for a certificate. */
  contextFor(authority: TlsAuthority | undefined, own?: ClientCertificate): SecureContext;
  /** Only of the same context: what one has verified says nothing to another. */
  sessionFor(context: SecureContext, place: string): Buffer | undefined;
  keepSession(context: SecureContext, place: string, session: Buffer, isResumed: boolean): void;
  forgetSession(context: SecureContext, place: string): void;
}

export interface TrustOptions {
  readonly now?: () => number;
  readonly sessions?: number;
}

/** A context costs some 50 KiB; policies name few authorities. */
const MAX_CONTEXTS = 64;
/** A session holds the origin's certificate, some KiB; sandboxes speak to tens of origins. */
const MAX_SESSIONS = 512;
/** With a chain in it; the ticket alone could be 64 KiB. */
const MAX_SESSION_BYTES = 16 * 1024;
/** A certificate is looked at again at least so often: a resumed session brings none. */
const SESSION_MS = 60 * 60_000;

interface Session {
  readonly session: Buffer;
  /** When its certificate was. */
  readonly verifiedAt: number;
}

/** `roots` are PEM certificates; none stands for those Node brings. */
export function createTrust(
  roots: readonly string[],
  { now = () => performance.now(), sessions: capacity = MAX_SESSIONS }: TrustOptions = {},
): Trust {
  // Parsed when first asked for: the system knows hundreds, and most runs open no TLS.
  let system: SecureContext | undefined;
  const contexts = new Map<string, SecureContext>();
  const numbers = new WeakMap<object, number>();
  let count = 0;
  const numberOf = (thing: object): number => {
    const number = numbers.get(thing) ?? ++count;
    numbers.set(thing, number);
    return number;
  };
  const known = roots.length > 0 ? roots : undefined;
  const sessions = new Map<string, Session>();
  const keyOf = (context: SecureContext, place: string): string => `${numberOf(context)} ${place}`;
  return {
    contextFor(authority, own) {
      if (authority === undefined && own === undefined) {
        system ??= contextOf(known);
        return system;
      }
      const key = `${authority?.digest ?? ''} ${own === undefined ? '' : numberOf(own)}`;
      const context = contexts.get(key) ?? contextOf(authority?.certificates ?? known, own);
      putLast(contexts, key, context, MAX_CONTEXTS);
      return context;
    },
    sessionFor(context, place) {
      const kept = sessions.get(keyOf(context, place));
      return kept !== undefined && now() - kept.verifiedAt < SESSION_MS ? kept.session : undefined;
    },
    keepSession(context, place, session, isResumed) {
      const key = keyOf(context, place);
      const verifiedAt = isResumed ? sessions.get(key)?.verifiedAt : now();
      if (verifiedAt !== undefined && session.length <= MAX_SESSION_BYTES)
        putLast(sessions, key, { session, verifiedAt }, capacity);
    },
    forgetSession: (context, place) => void sessions.delete(keyOf(context, place)),
  };
}

function contextOf(ca: readonly string[] | undefined, own?: ClientCertificate): SecureContext {
  return createSecureContext({
    minVersion: 'TLSv1.2',
    ...(ca && { ca: [...ca] }),
    ...(own && { cert: own.certificate, key: own.key }),
  });
}

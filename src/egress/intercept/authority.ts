/** The certificate authority of one run: it proves opened TLS to the sandbox's own programs, and to nobody else. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { putLast } from '../../lib/put-last.ts';
import { type CertificateTemplate, certificate, certificateToSign, pem } from '../../protocol/x509.ts';

export interface CertificateAuthority {
  /** PEM of the authority's own certificate; its key never leaves this object. */
  readonly certificatePem: string;
  /** What proves `host`, a canonical name or IP literal. Made at first use; the last ones used are kept. */
  readonly contextFor: (host: string) => SecureContext;
}

export interface AuthorityOptions {
  readonly capacity?: number;
  readonly now?: () => number;
}

const NAME = 'castellan sandbox CA';
const DAY_MS = 24 * 60 * 60 * 1000;
/** Clocks of a host and its guests differ, by less than a day. */
const BACKDATED_MS = DAY_MS;
/** Longer than any run; trust in it ends with the run, whose files nobody else reads. */
const AUTHORITY_DAYS = 3650;
/** Clients refuse certificates of servers that are valid for much more than a year; a month is long enough for a connection. */
const LEAF_DAYS = 30;
/** A context costs some 50 KiB; sandboxes speak to tens of names. */
const DEFAULT_CAPACITY = 512;
/** RFC 5280 §4.1.2.2: at most 20 octets. Random ones are never given twice. */
const SERIAL_BYTES = 16;

interface Leaf {
  readonly context: SecureContext;
  readonly renewAt: number;
}

/** A new authority, of ECDSA P-256, which every client knows. */
export function createCertificateAuthority({
  capacity = DEFAULT_CAPACITY,
  now = Date.now,
}: AuthorityOptions = {}): CertificateAuthority {
  const own = generateKey();
  // One key for all servers: they are all this process, and whoever had one key would have them all.
  const servers = generateKey();
  const leafKey = servers.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const leaves = new Map<string, Leaf>();
  const issue = (key: Key, days: number, use: CertificateTemplate['use'], subject: string): string => {
    const toSign = certificateToSign({
      serial: randomBytes(SERIAL_BYTES),
      issuer: NAME,
      subject,
      notBefore: new Date(now() - BACKDATED_MS),
      notAfter: new Date(now() + days * DAY_MS),
      publicKey: key.publicDer,
      subjectKeyId: key.id,
      authorityKeyId: own.id,
      use,
    });
    return pem(certificate(toSign, sign('sha256', toSign, own.privateKey)));
  };
  const certificatePem = issue(own, AUTHORITY_DAYS, { kind: 'authority' }, NAME);
  const makeLeaf = (host: string): Leaf => ({
    context: createSecureContext({
      key: leafKey,
      cert: issue(servers, LEAF_DAYS, { kind: 'server', host }, ''),
      minVersion: 'TLSv1.2',
    }),
    renewAt: now() + (LEAF_DAYS * DAY_MS) / 2,
  });
  return {
    certificatePem,
    contextFor(host) {
      const known = leaves.get(host);
      const leaf = known !== undefined && known.renewAt > now() ? known : makeLeaf(host);
      putLast(leaves, host, leaf, capacity);
      return leaf.context;
    },
  };
}

interface Key {
  readonly privateKey: KeyObject;
  readonly publicDer: Buffer;
  /** RFC 5280 §4.2.1.2, method 1, over the whole SubjectPublicKeyInfo: any value that is the key's own will do. */
  readonly id: Buffer;
}

function generateKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicDer = publicKey.export({ type: 'spki', format: 'der' });
  return { privateKey, publicDer, id: createHash('sha1').update(publicDer).digest() };
}

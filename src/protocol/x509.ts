/** X.509 certificates (RFC 5280) with ECDSA signatures, as far as a certificate authority of one sandbox issues them. */
import { isIP } from 'node:net';
import {
  bitString,
  boolean,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
} from './der.ts';

export interface CertificateTemplate {
  /** Big-endian; at most 20 bytes (§4.1.2.2). */
  readonly serial: Uint8Array;
  readonly issuer: string;
  /** Common name; empty where the name is only in the extension, which then is critical (§4.2.1.6). */
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly subjectKeyId: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  readonly use: { readonly kind: 'authority' } | { readonly kind: 'server'; readonly host: string };
}

const OID = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

/** Context-specific, constructed and primitive. */
const EXPLICIT = 0xa0;
const IMPLICIT = 0x80;

const VERSION_3 = Uint8Array.of(2);
/** Bits of KeyUsage from the left: digitalSignature; keyCertSign and cRLSign. */
const DIGITAL_SIGNATURE = bitString(Uint8Array.of(0x80), 7);
const CERTIFICATE_SIGNATURE = bitString(Uint8Array.of(0x06), 1);

const SIGNATURE_ALGORITHM = sequence(objectIdentifier(OID.ecdsaWithSha256));

/** What is signed (TBSCertificate, §4.1). */
export function certificateToSign(template: CertificateTemplate): Buffer {
  const { serial, issuer, subject, notBefore, notAfter, publicKey } = template;
  return sequence(
    tagged(EXPLICIT | 0, integer(VERSION_3)),
    integer(serial),
    SIGNATURE_ALGORITHM,
    name(issuer),
    sequence(time(notBefore), time(notAfter)),
    name(subject),
    publicKey,
    tagged(EXPLICIT | 3, sequence(...extensions(template))),
  );
}

/** The certificate. `signature` is DER, over exactly `toSign`, with SHA-256. */
export function certificate(toSign: Uint8Array, signature: Uint8Array): Buffer {
  return sequence(toSign, SIGNATURE_ALGORITHM, bitString(signature));
}

/** RFC 7468. */
export function pem(certificateDer: Uint8Array): string {
  const lines =
    Buffer.from(certificateDer)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function name(commonName: string): Buffer {
  if (commonName === '') return sequence();
  return sequence(set(sequence(objectIdentifier(OID.commonName), utf8String(commonName))));
}

function extensions({ use, subject, subjectKeyId, authorityKeyId }: CertificateTemplate): Buffer[] {
  const identifiers = [
    extension(OID.subjectKeyIdentifier, octetString(subjectKeyId)),
    extension(OID.authorityKeyIdentifier, sequence(tagged(IMPLICIT | 0, authorityKeyId))),
  ];
  if (use.kind === 'authority')
    return [
      // No authority below this one.
      critical(OID.basicConstraints, sequence(boolean(true), integer(Uint8Array.of(0)))),
      critical(OID.keyUsage, CERTIFICATE_SIGNATURE),
      ...identifiers,
    ];
  const names = sequence(generalName(use.host));
  return [
    critical(OID.basicConstraints, sequence()),
    critical(OID.keyUsage, DIGITAL_SIGNATURE),
    extension(OID.extendedKeyUsage, sequence(objectIdentifier(OID.serverAuth))),
    subject === '' ? critical(OID.subjectAltName, names) : extension(OID.subjectAltName, names),
    ...identifiers,
  ];
}

function extension(oid: string, value: Uint8Array): Buffer {
  return sequence(objectIdentifier(oid), octetString(value));
}

function critical(oid: string, value: Uint8Array): Buffer {
  return sequence(objectIdentifier(oid), boolean(true), octetString(value));
}

/** §4.2.1.6: [2] a DNS name, [7] the bytes of an address. */
function generalName(host: string): Buffer {
  return isIP(host) === 0
    ? tagged(IMPLICIT | 2, Buffer.from(host, 'latin1'))
    : tagged(IMPLICIT | 7, addressBytes(host));
}

function addressBytes(literal: string): Uint8Array {
  if (isIP(literal) === 4) return Uint8Array.from(literal.split('.').map(Number));
  const [head = '', tail] = literal.split('::');
  const groups = (text: string) =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const left = groups(head);
  const right = groups(tail ?? '');
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

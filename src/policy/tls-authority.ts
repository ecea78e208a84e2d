/** The endpoint key tls_authority: whom the origin has to be certified by. */
import { createHash, X509Certificate } from 'node:crypto';
import { certificatesIn } from '../protocol/pem.ts';
import { type Endpoint, INSPECTED_PROTOCOLS, type TlsAuthority } from './document.ts';
import { FACT_LIMITS } from './fact-limits.ts';
import { parsePath } from './path.ts';
import { readText } from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

/** Files that a policy names, given to the parser from outside: it opens nothing, and knows no time. */
export interface PolicyFiles {
  /** The text, or what is wrong with the file, to follow its name in a sentence. */
  read(path: string, maxBytes: number): { readonly text: string } | { readonly problem: string };
  readonly now: Date;
}

/** Every endpoint carries its own over the wire between the roles, whose messages are limited. */
export const MAX_ALL_AUTHORITIES_BYTES = 2 * 1024 * 1024;

interface Place {
  readonly protocol: Endpoint['protocol'];
  readonly where: string;
}

/** Undefined where the key is absent, or where it is wrong and the findings say so. */
export function readTlsAuthority(
  node: TreeNode | undefined,
  { protocol, where }: Place,
  findings: Findings,
): TlsAuthority | undefined {
  const text = readText(node, 'tls_authority', findings);
  if (node === undefined || text === undefined) return undefined;
  const { position } = node;
  if (!INSPECTED_PROTOCOLS.some((known) => known === protocol))
    return refuse(
      findings,
      position,
      `tls_authority needs TLS to be opened, and ${where} has no protocol that is inspected`,
    );
  const parsed = parsePath(text);
  if ('problem' in parsed)
    return refuse(findings, position, `tls_authority ${quote(text)} ${parsed.problem}`);
  const { path } = parsed;
  const read = findings.files?.read(path, FACT_LIMITS.certificates) ?? { problem: 'cannot be read here' };
  if ('problem' in read) return refuse(findings, position, `tls_authority ${quote(path)} ${read.problem}`);
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(read.text))
    return refuse(
      findings,
      position,
      `tls_authority ${quote(path)} holds a private key, which nobody needs here`,
    );
  const certificates = certificatesIn(read.text);
  if (certificates.length === 0)
    return refuse(findings, position, `tls_authority ${quote(path)} holds no PEM certificate`);
  for (const [index, certificate] of certificates.entries()) {
    const problem = judge(certificate, findings.files?.now);
    if (problem === undefined) continue;
    const sentence = `certificate ${index + 1} of tls_authority ${quote(path)} ${problem.text}`;
    if (problem.isFatal) return refuse(findings, position, sentence);
    notice(findings, position, sentence);
  }
  return authorityOf(path, certificates);
}

/** `path` names where the certificates, PEM, come from. */
export function authorityOf(path: string, certificates: readonly string[]): TlsAuthority {
  const digest = `sha256:${createHash('sha256').update(certificates.join('\n')).digest('hex')}`;
  return { path, certificates, digest };
}

function judge(
  pem: string,
  now: Date | undefined,
): { readonly text: string; readonly isFatal: boolean } | undefined {
  const certificate = parseCertificate(pem);
  if (certificate === undefined) return { text: 'cannot be read', isFatal: true };
  const { validFromDate, validToDate } = certificate;
  if (now !== undefined && now > validToDate)
    return { text: `has expired (${validToDate.toISOString()})`, isFatal: false };
  if (now !== undefined && now < validFromDate)
    return { text: `is not valid before ${validFromDate.toISOString()}`, isFatal: false };
  return undefined;
}

/** Undefined where it is none. */
export function parseCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

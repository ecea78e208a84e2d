/**
 * AdmissionReview as the API server sends it (admission.k8s.io/v1, and v1beta1 of clusters before 1.22) and what it is answered. Fields
 * that are not named here are nobody's business here.
 */
import * as v from 'valibot';
import type { ErrorCode } from '../../errors.ts';
import { parsedJson } from '../../lib/json.ts';
import { problemOfBounds } from './bounds.ts';
import type { PatchOperation } from './json-patch.ts';

export const REVIEW_VERSIONS = ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1'] as const;

/** RFC 1123 label: also what makes a name safe in a path and in a line. */
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Long enough for every name of Kubernetes (253), and for a generated one. */
const Word = v.pipe(v.string(), v.maxLength(320));

const GroupVersion = { group: v.optional(Word, ''), version: Word };

const Review = v.object({
  apiVersion: v.picklist(REVIEW_VERSIONS),
  kind: v.literal('AdmissionReview'),
  request: v.object({
    uid: v.pipe(Word, v.minLength(1)),
    kind: v.object({ ...GroupVersion, kind: Word }),
    resource: v.object({ ...GroupVersion, resource: Word }),
    subResource: v.optional(Word, ''),
    namespace: v.optional(v.union([v.literal(''), v.pipe(v.string(), v.regex(NAMESPACE))]), ''),
    name: v.optional(Word, ''),
    operation: v.picklist(['CREATE', 'UPDATE', 'DELETE', 'CONNECT']),
    object: v.optional(v.unknown()),
    oldObject: v.optional(v.unknown()),
  }),
});

type ParsedReview = v.InferOutput<typeof Review>;
export type AdmissionReview = Pick<ParsedReview, 'apiVersion' | 'request'>;

/** The review in a body, or why it is none: what cannot be read has no uid to be answered by. */
export function parseReview(body: string): AdmissionReview | { readonly problem: string } {
  const document = parsedJson(body);
  if (document === undefined) return { problem: 'the body is not JSON' };
  const bounds = problemOfBounds(document);
  if (bounds !== undefined) return { problem: `the body ${bounds}` };
  const parsed = v.safeParse(Review, document);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  return { problem: `the body is no AdmissionReview: ${v.getDotPath(issue) ?? 'it'} is not as expected` };
}

/** Why a review was refused: castellan's own codes, and that nobody could be asked. */
export type RefusalRule = ErrorCode | 'namespace_unavailable';

export type Verdict =
  | { readonly kind: 'untouched' }
  | { readonly kind: 'patched'; readonly operations: readonly PatchOperation[] }
  | { readonly kind: 'refused'; readonly rule: RefusalRule; readonly message: string };

/** The answer in the version of the question. @throws never */
export function renderAnswer({ apiVersion, request: { uid } }: AdmissionReview, verdict: Verdict): string {
  return JSON.stringify({ apiVersion, kind: 'AdmissionReview', response: { uid, ...responseOf(verdict) } });
}

function responseOf(verdict: Verdict): object {
  switch (verdict.kind) {
    case 'untouched':
      return { allowed: true };
    case 'patched': {
      const patch = Buffer.from(JSON.stringify(verdict.operations)).toString('base64');
      return { allowed: true, patchType: 'JSONPatch', patch };
    }
    case 'refused': {
      // Controllers try again whatever the code; people read the message.
      const isOurs = verdict.rule === 'namespace_unavailable';
      return {
        allowed: false,
        status: {
          code: isOurs ? 503 : 403,
          reason: isOurs ? 'ServiceUnavailable' : 'Forbidden',
          message: `castellan (${verdict.rule}): ${verdict.message}`,
        },
      };
    }
  }
}

/** Requests that are signed anew, for endpoints with credential_signing. */
import {
  declaredPayload,
  type SigningKeys,
  signRequest,
  withoutSignature,
  withoutSignedQuery,
} from '../../credential/signing.ts';
import { SubstitutionError, substituteFields } from '../../credential/substitute.ts';
import type { RequestSigning } from '../../policy/document.ts';
import { awsRegion } from '../../protocol/aws-host.ts';
import { formatAuthority } from '../accept/authority.ts';
import { endToEndHeaders } from '../relay/headers.ts';
import type { RequestContent } from '../stages.ts';
import { readBody } from './body.ts';
import { createGuard } from './guard.ts';
import { type Injection, InjectionRefused, rewriteTarget } from './inject.ts';

const UNSIGNED = 'UNSIGNED-PAYLOAD';
/** Chunks without signatures, and checksums behind them. */
const UNSIGNED_CHUNKS = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
const SHA256_HEX = /^[0-9a-f]{64}$/i;

/** @throws SubstitutionError, InjectionRefused */
export async function sign(
  injection: Injection,
  { payload, service, region: named }: RequestSigning,
  content: RequestContent | undefined,
): Promise<RequestContent> {
  const { request, destination, resolve, limits } = injection;
  const { host, port } = destination;
  const region = named ?? awsRegion(host);
  if (region === undefined)
    throw new SubstitutionError('unavailable', `the name ${host} tells no region (signing_region)`);
  const keys = keysOf(injection);
  const sent = endToEndHeaders(request.fields);
  const word = payloadWord(payload, declaredPayload(sent));
  const body =
    content?.body ?? (word === undefined ? await readBody(injection, limits.signedBodyBytes) : undefined);
  const own = withoutSignedQuery(request.target);
  const target = rewriteTarget(
    injection,
    own,
    content && { ...content, target: withoutSignedQuery(content.target) },
  );
  const signed = await signRequest(
    {
      method: request.method,
      target,
      authority: formatAuthority({ host, port }, 443),
      fields: substituteFields(withoutSignature(sent), resolve),
      payload: word ?? body ?? '',
    },
    keys,
    { service, region, date: new Date() },
  );
  return { ...content, ...signed, body, ...(body === undefined && { guard: createGuard(injection) }) };
}

/** What stands for a body that is not looked at; undefined where it is signed. */
function payloadWord(payload: RequestSigning['payload'], declared: string | undefined): string | undefined {
  // Chunks with signatures have been made with a placeholder for a key, and have to be made anew.
  if (
    declared !== undefined &&
    declared !== UNSIGNED &&
    declared !== UNSIGNED_CHUNKS &&
    !SHA256_HEX.test(declared)
  )
    throw new InjectionRefused({
      result: 'denied',
      verdict: {
        allow: false,
        reason: 'request_unreadable',
        detail: 'the body is signed chunk by chunk, which cannot be signed anew: send it whole, or unsigned',
        nearest: undefined,
      },
    });
  if (declared === UNSIGNED_CHUNKS) return UNSIGNED_CHUNKS;
  if (payload === 'unsigned' || (payload === 'auto' && declared === UNSIGNED)) return UNSIGNED;
  return undefined;
}

function keysOf({ credentials, destination, resolve }: Injection): SigningKeys {
  const key = (name: string): string => resolve({ name, handle: undefined }, 'header:authorization');
  const token = 'AWS_SESSION_TOKEN';
  return {
    accessKeyId: key('AWS_ACCESS_KEY_ID'),
    secretAccessKey: key('AWS_SECRET_ACCESS_KEY'),
    sessionToken: credentials.mayUse(token, destination) ? key(token) : undefined,
  };
}

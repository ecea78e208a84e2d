/** Bodies in which placeholders are replaced, where the endpoint asks for it: read whole, and sent with their length. */
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import { SubstitutionError, substituteForm, substituteText } from '../../credential/substitute.ts';
import { bodyFlaw } from './guard.ts';
import { type Injection, InjectionRefused } from './inject.ts';

type TextKind = 'json' | 'form' | 'text';

/** Undefined where it is to be streamed: nothing can be replaced in it. */
export async function rewriteBody(injection: Injection): Promise<Buffer | undefined> {
  const { request, use, limits, resolve } = injection;
  const kind = use?.rewriteBody ? textKind(request.headers) : undefined;
  if (kind === undefined) return undefined;
  const body = await readBody(injection, limits.rewrittenBodyBytes);
  if (!isUtf8(body)) {
    const flaw = bodyFlaw(injection, body);
    if (flaw !== undefined) throw new SubstitutionError('unbound', flaw);
    return body;
  }
  const text = body.toString();
  const rewritten =
    kind === 'form' ? substituteForm(text, resolve) : substituteText(text, kind === 'json', 'body', resolve);
  return rewritten === text ? body : Buffer.from(rewritten);
}

/** The whole body. @throws InjectionRefused where it is too large, or does not come */
export async function readBody({ request }: Injection, maxBytes: number): Promise<Buffer> {
  const body = await request.body(maxBytes);
  if (body !== undefined) return body;
  const detail = `the body is larger than ${maxBytes} bytes, did not come, or found no room beside others`;
  throw new InjectionRefused({
    result: 'denied',
    verdict: { allow: false, reason: 'request_unreadable', detail, nearest: undefined },
  });
}

/** What is compressed, or is no text, cannot be looked into. */
function textKind(headers: IncomingHttpHeaders): TextKind | undefined {
  const encoding = headers['content-encoding']?.toLowerCase();
  if (encoding !== undefined && encoding !== 'identity') return undefined;
  const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/x-www-form-urlencoded') return 'form';
  if (type === 'application/json' || /^application\/[\w.-]+\+json$/.test(type)) return 'json';
  return type.startsWith('text/') ? 'text' : undefined;
}

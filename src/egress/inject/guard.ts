/** Placeholders where nobody replaces them: they mean nothing to an origin, and their program should hear why. */
import { PassThrough } from 'node:stream';
import { mentionsPlaceholder } from '../../credential/placeholder.ts';
import { SubstitutionError, substituteText } from '../../credential/substitute.ts';
import type { PlaceholderGuard } from '../stages.ts';
import { createBodyGuard, findPlaceholder } from './body-guard.ts';
import type { Injection } from './inject.ts';

type Guarded = Pick<Injection, 'credentials' | 'use' | 'resolve'>;

/** Why a body that is not rewritten may not go out. */
export function bodyFlaw({ credentials, use }: Guarded, body: Buffer): string | undefined {
  if (use?.allowUninspected) return undefined;
  const name = findPlaceholder(body, (known) => credentials.has(known));
  return name && misplaced(name, 'a body', 'request_body_credential_rewrite');
}

/** Over the rest of a request, whose head is on its way. */
export function createGuard({ credentials, use, resolve }: Guarded): PlaceholderGuard {
  const isKnown = (name: string): boolean => credentials.has(name);
  const misplacedInBody = (name: string) => misplaced(name, 'a body', 'request_body_credential_rewrite');
  return {
    stream: () => (use?.allowUninspected ? new PassThrough() : createBodyGuard(isKnown, misplacedInBody)),
    trailerFlaw: (fields) =>
      fields.flat().some(mentionsPlaceholder) ? 'a trailer field is no place for a placeholder' : undefined,
    message(data) {
      if (typeof data === 'string' && use?.rewriteWebSocket) return rewriteMessage(data, resolve);
      const name = use?.allowUninspected ? undefined : findPlaceholder(Buffer.from(data), isKnown);
      if (name === undefined) return { data };
      return { flaw: misplaced(name, 'this message', 'websocket_credential_rewrite, for texts') };
    },
  };
}

function rewriteMessage(text: string, resolve: Guarded['resolve']): ReturnType<PlaceholderGuard['message']> {
  try {
    return { data: substituteText(text, /^\s*[[{"]/.test(text), 'websocket', resolve) };
  } catch (error) {
    if (error instanceof SubstitutionError) return { flaw: error.message };
    throw error;
  }
}

function misplaced(name: string, where: string, key: string): string {
  return `the placeholder of ${name} stands in ${where}, where nothing is put in its place (${key})`;
}

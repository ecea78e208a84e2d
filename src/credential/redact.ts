import { splitPlaceholders } from './placeholder.ts';

/** Stands for a secret or its placeholder wherever either would be written down, and where the policy reads a request. */
export const REDACTED = '[CREDENTIAL]';

/** What is shorter is in too many texts by chance. */
const MIN_SECRET = 6;

/** A function that takes secrets, as they are and as they stand in URLs, and placeholders out of a text. */
export function createRedactor(secrets: readonly string[]): (text: string) => string {
  // Longest first: one may hold another.
  const forms = [...new Set(secrets.filter(({ length }) => length >= MIN_SECRET).flatMap(formsOf))].sort(
    (a, b) => b.length - a.length,
  );
  return (text) => {
    const plain = forms.reduce((rest, form) => rest.replaceAll(form, REDACTED), text);
    return splitPlaceholders(plain)
      .map((part) => (part.kind === 'text' ? part.text : REDACTED))
      .join('');
  };
}

function formsOf(secret: string): string[] {
  const encoded = encodeURIComponent(secret);
  const lower = encoded.replaceAll(/%[0-9A-F]{2}/g, (byte) => byte.toLowerCase());
  return [secret, encoded, lower, secret.toLowerCase(), Buffer.from(secret).toString('base64')];
}

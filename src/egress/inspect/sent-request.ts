/** What the inspectors of bodies are given. */
export interface SentRequest {
  readonly method: string;
  readonly query: readonly (readonly [key: string, value: string])[];
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly accept: string | undefined;
  readonly body: Uint8Array;
}

/** Why the body cannot be read as JSON text; undefined where nothing in the header speaks against it. */
export function notJson({ contentType, contentEncoding }: SentRequest): string | undefined {
  if (contentEncoding !== undefined && contentEncoding.toLowerCase() !== 'identity')
    return 'the body has a Content-Encoding, behind which nobody can look';
  const [type = '', ...parameters] = (contentType ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  if (type !== 'application/json') return 'the Content-Type is not application/json';
  if (parameters.some((parameter) => !/^charset="?utf-8"?$/.test(parameter)))
    return 'the Content-Type has a parameter other than charset=utf-8';
  return undefined;
}

/** RFC 9113 §3.4, the part that no HTTP/1 request begins with. */
const HTTP2_PREFACE = 'PRI * HTTP/2';
/** The longest registered method, UPDATEREDIRECTREF, has 17 letters. */
const MAX_METHOD_LENGTH = 20;

/**
 * Whether the first bytes of a connection begin like an HTTP/1 request line (RFC 9112 §3: method, one space, target);
 * undefined while they are too few to tell, never beyond the longest method. The parsing itself is llhttp's work.
 */
export function looksLikeHttp(bytes: Uint8Array): boolean | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, MAX_METHOD_LENGTH + 2));
  if (text.startsWith(HTTP2_PREFACE)) return false;
  if (HTTP2_PREFACE.startsWith(text) || /^[A-Z][A-Z-]{0,19} ?$/.test(text)) return undefined;
  return /^[A-Z][A-Z-]{0,19} [/*A-Za-z0-9[]/.test(text);
}

/** Whether the first bytes of a connection are those of HTTP/2 with prior knowledge (RFC 9113 §3.4). */
export function beginsHttp2(bytes: Uint8Array): boolean {
  return String.fromCharCode(...bytes.subarray(0, HTTP2_PREFACE.length)) === HTTP2_PREFACE;
}

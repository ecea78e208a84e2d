/** Ed25519 keys as OpenSSH writes them: PROTOCOL.key of openssh-portable, RFC 8709, strings as in RFC 4251 §5. */

const TYPE = 'ssh-ed25519';
const MAGIC = 'openssh-key-v1\0';
/** Private parts are padded to it with 1, 2, 3 …; that of no cipher. */
const BLOCK_BYTES = 8;
const LINE_LENGTH = 70;

/** Type and base64 blob, as in known_hosts after the name. `key` are the 32 bytes of RFC 8032. */
export function publicKeyText(key: Uint8Array): string {
  return `${TYPE} ${publicBlob(key).toString('base64')}`;
}

/** An unencrypted private key. `seed` are the 32 bytes that RFC 8032 calls the private key; `check` is any number of 32 bits. */
export function privateKeyText(seed: Uint8Array, key: Uint8Array, check: number): string {
  const secret = [
    uint32(check),
    uint32(check),
    text(TYPE),
    text(key),
    text(Buffer.concat([seed, key])),
    text(''),
  ];
  const length = secret.reduce((sum, part) => sum + part.length, 0);
  const padding = Uint8Array.from({ length: -length & (BLOCK_BYTES - 1) }, (_, index) => index + 1);
  const whole = Buffer.concat([
    Buffer.from(MAGIC),
    ...[text('none'), text('none'), text('')],
    uint32(1),
    text(publicBlob(key)),
    text(Buffer.concat([...secret, padding])),
  ]);
  const lines = whole.toString('base64').match(new RegExp(`.{1,${LINE_LENGTH}}`, 'g')) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

function publicBlob(key: Uint8Array): Buffer {
  return Buffer.concat([text(TYPE), text(key)]);
}

function text(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

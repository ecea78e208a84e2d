import { generateKeyPairSync, randomInt } from 'node:crypto';
import { privateKeyText, publicKeyText } from '../../protocol/openssh-key.ts';

export interface HostKey {
  /** OpenSSH private key text. */
  readonly private: string;
  /** Type and base64 blob, as in known_hosts after the name. */
  readonly public: string;
}

/**
 * A new Ed25519 key pair, for one run. Written here: ssh2 1.17 drops leading zero bytes of the public key when it writes a new
 * pair (https://github.com/mscdex/ssh2/issues/1390), and is not loaded before somebody connects.
 */
export function generateHostKey(): HostKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  const { x = '', d = '' } = privateKey.export({ format: 'jwk' });
  const [key, seed] = [Buffer.from(x, 'base64url'), Buffer.from(d, 'base64url')];
  return { private: privateKeyText(seed, key, randomInt(2 ** 32)), public: publicKeyText(key) };
}

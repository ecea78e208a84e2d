import ssh2 from 'ssh2';

export interface HostKey {
  /** OpenSSH private key text. */
  readonly private: string;
  /** Type and base64 blob, as in known_hosts after the name. */
  readonly public: string;
}

/** One key in 256 or so is malformed; so many in a row are another fault. */
const MAX_TRIES = 32;

/**
 * A new Ed25519 key pair, for one run. ssh2 1.17 drops leading zero bytes of the public key when it writes a new pair
 * (https://github.com/mscdex/ssh2/issues/1390), and then cannot read it: such a pair is thrown away.
 */
export function generateHostKey(): HostKey {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519');
    const [whole, publicHalf] = [ssh2.utils.parseKey(pair.private), ssh2.utils.parseKey(pair.public)];
    if (whole instanceof Error || publicHalf instanceof Error) continue;
    if (whole.getPublicSSH().equals(publicHalf.getPublicSSH()))
      return { private: pair.private, public: pair.public };
  }
  throw new Error('no usable host key could be made');
}

import ssh2 from 'ssh2';
import { describe, expect, it } from 'vitest';
import { generateHostKey } from '../../../src/session/ssh/host-key.ts';

describe('generateHostKey', () => {
  it('never gives a pair that the server or a client cannot read', () => {
    // Leading zero bytes come once in 256: among so many there would be some.
    for (let i = 0; i < 3000; i++) {
      const pair = generateHostKey();
      const key = ssh2.utils.parseKey(pair.private);
      if (key instanceof Error) throw key;
      expect(`ssh-ed25519 ${key.getPublicSSH().toString('base64')}`).toBe(pair.public);
      expect(key.verify('text', key.sign('text') as Buffer)).toBe(true);
      const [type, blob = ''] = pair.public.split(' ');
      expect(type).toBe('ssh-ed25519');
      // RFC 8709: the type with its length, then 32 bytes with theirs.
      expect(Buffer.from(blob, 'base64')).toHaveLength(4 + 11 + 4 + 32);
    }
  });
});

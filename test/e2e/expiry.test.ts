/** A right that ends while it is in use. */
import { describe, expect, it } from 'vitest';
import { auditEvents, finish, isRoot, MODES, prepare, run, useWorld, writePolicy } from './sandbox.ts';

const sharedWorld = useWorld();

/** Longer than a start takes on a loaded machine. */
const LASTS_MS = 8000;

describe.skipIf(!isRoot).each(MODES)(
  'a rule that expires, %s (needs root to make the test world)',
  (mode) => {
    it('is in force until then, and its end is told to the client and in the log', async () => {
      const setup = prepare(sharedWorld(), mode);
      const expires = new Date(Date.now() + LASTS_MS).toISOString().replace(/\.\d+Z/, 'Z');
      const policy = writePolicy(
        setup,
        `network_policies:
  brief:
    expires: ${expires}
    endpoints: [{ host: allowed.demo.test, port: 8443, protocol: rest, enforcement: enforce, allowed_ips: [10.77.0.0/24], access: read-only }]
    binaries: [{ path: /usr/bin/curl }]
`,
      );
      const url = 'https://allowed.demo.test:8443/a';
      const script = `curl -fsS ${url} && while curl -fsS ${url} >/dev/null 2>&1; do :; done; curl -sS ${url} 2>/dev/null`;
      const { stdout } = await finish(run(setup, ['/bin/sh', '-c', script], { policy }));
      expect(stdout).toMatch(/^GET allowed\.demo\.test:8443 \/a 0\n/);
      const denied = auditEvents(setup).find(({ action }) => action === 'Denied');
      expect(denied).toMatchObject({
        status_code: 'rule_expired',
        status_detail: expect.stringContaining('rule "brief" allowed allowed.demo.test:8443 until'),
      });
      expect(auditEvents(setup).map(({ message }) => message)).toContainEqual(
        expect.stringMatching(/^rules brief have ended, and with them \d+ connections$/),
      );
    });
  },
);

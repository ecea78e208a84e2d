/** A policy learned from the log of a real run: what the run did passes under it, and nothing else. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import { finish, isRoot, MODES, prepare, run, type Setup, useWorld, writePolicy } from './sandbox.ts';

const sharedWorld = useWorld();

const HOST = 'allowed.demo.test';
const WATCHED = `network_policies:
  watched:
    endpoints:
      - { host: ${HOST}, ports: [8443, 8080], protocol: rest, enforcement: audit, allowed_ips: [10.77.0.0/24], rules: [{ allow: { method: GET, path: "/public/**" } }] }
    binaries: [{ path: /usr/bin/curl }]
`;

function learn(...argv: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(CASTELLAN, ['policy', ...argv], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

/** The learned rules in a policy that a run can start with. */
function learnedPolicy(setup: Setup, text: string): string {
  return writePolicy(setup, text.slice(text.indexOf('network_policies:')));
}

describe.skipIf(!isRoot).each(MODES)('policy learn, %s (needs root to make the test world)', (mode) => {
  it('makes of an audited run a policy for the same run', async () => {
    const setup = prepare(sharedWorld(), mode);
    const base = writePolicy(setup, WATCHED);
    const script = [
      ...[1, 2, 3].map((id) => `curl -sS https://${HOST}:8443/items/${id}?secret=x`),
      `curl -sS -X PUT http://${HOST}:8080/items/1`,
      'curl -sS https://other.demo.test:8443/x',
    ].join('; ');
    await finish(run(setup, ['/bin/sh', '-c', script], { policy: base }));

    const { code, out, err } = learn('learn', setup.auditPath);
    expect([code, err]).toEqual([0, '']);
    expect(out).not.toContain('secret');
    expect(out).toMatch(
      /^ +# seen 3 times, 3 only by audit, [^\n]+\n[^\n]+\n[^\n]+\n +- host: "allowed\.demo\.test"\n +port: 8443$/m,
    );
    const file = join(setup.directory, 'learned.yaml');
    writeFileSync(file, out);
    expect(learn('lint', file)).toEqual({ code: 0, out: '', err: '' });
    const { out: diff } = learn('diff', base, file);
    expect(diff).toMatch(/^\+ {3}allow {7}allowed\.demo\.test:8443 GET \/items\/\*/m);
    expect(diff).toMatch(/^\+ {3}allow {7}allowed\.demo\.test:8080 PUT \/items\/1 /m);
    expect(diff).toMatch(/^- {3}allow {7}allowed\.demo\.test:8443,8080 GET \/public/m);
    expect(out).toMatch(/^# +- \{ host: "other\.demo\.test", port: 8443 \}$/m);
    expect(learn('learn', setup.auditPath, '--include-denied').out).toMatch(
      /^ +- \{ host: "other\.demo\.test", port: 8443 \}$/m,
    );
    // Beside the policy of the run only what that does not allow: here the same, in its own enforcement.
    expect(learn('learn', setup.auditPath, '--base', base).out).toContain('enforcement: "audit"');

    const again = prepare(sharedWorld(), mode);
    const urls = ['items/7', 'items/7/x', 'public/a'].map((path) => `curl -sS https://${HOST}:8443/${path}`);
    const { stdout } = await finish(
      run(again, ['/bin/sh', '-c', urls.join('; ')], { policy: learnedPolicy(again, out) }),
    );
    const [first, ...others] = stdout.trim().split('\n');
    expect(first).toBe(`GET ${HOST}:8443 /items/7 0`);
    expect(others.map((line) => JSON.parse(line).reason)).toEqual([
      'request_not_listed',
      'request_not_listed',
    ]);
  });

  it('refuses a log that was changed, unless told to', async () => {
    const setup = prepare(sharedWorld(), mode);
    await finish(
      run(setup, ['curl', '-sS', `https://${HOST}:8443/a`], { policy: writePolicy(setup, WATCHED) }),
    );
    const forged = join(setup.directory, 'forged.jsonl');
    writeFileSync(forged, readFileSync(setup.auditPath, 'utf8').replaceAll(HOST, 'evil.demo.test'));
    const { code, out, err } = learn('learn', setup.auditPath, forged);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/forged\.jsonl: NOT VERIFIED: line \d+: altered:/);
    expect(learn('learn', '--unverified', forged).out).toContain('"evil.demo.test"');
    expect(learn('learn', join(setup.directory, 'absent'))).toMatchObject({
      code: 100,
      err: expect.stringContaining('cannot be read'),
    });
  });
});

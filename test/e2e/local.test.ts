/** castellan's own names in a real cell: a model behind a key that nobody inside sees, and a rule that is asked for, granted and used. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  auditEvents,
  CALLER_UID,
  castellan,
  DIRECT,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

/** Of this run alone: it is looked for in every process of the machine. */
const KEY = `sk-${randomBytes(8).toString('hex')}`;
const OWN = `network_policies:
  own:
    endpoints: [{ host: inference.local, port: 443 }, { host: policy.local, port: 80 }]
    binaries: [{ path: /usr/bin/curl }]
`;
const CHAT = 'https://inference.local/v1/chat/completions';

/** The origin of the world stands in for a provider: it says what it was asked. */
function writeRoutes({ directory, mode }: Setup, more = ''): string {
  const path = join(directory, 'routes.yaml');
  writeFileSync(
    path,
    `routes:\n  - name: main\n    endpoint: https://allowed.demo.test:8443/v1\n    model: real-model\n    api_key: ${KEY}\n    protocols: [openai_chat_completions]\n${more}`,
    { mode: 0o600 },
  );
  if (mode !== 'root') chownSync(path, CALLER_UID, CALLER_UID);
  return path;
}

describe.skipIf(!isRoot).each(MODES)(
  "castellan's own names, %s (needs root to make the test world)",
  (mode) => {
    it('a model answers, and its key is nowhere inside', async () => {
      const setup = prepare(sharedWorld(), mode);
      const policy = writePolicy(setup, OWN);
      const routes = writeRoutes(setup);
      writeFileSync(join(setup.work, 'key'), KEY);
      const script = [
        `curl -sS -d '{"model":"mine"}' ${CHAT}`,
        `${DIRECT} curl -sS --http1.1 -d '{}' ${CHAT}`,
        `cat ${routes} 2>/dev/null || echo unread`,
        // From a file: the word in a command line would be found there.
        'cat /proc/*/environ /proc/*/cmdline 2>/dev/null | grep -a -c -f key',
        "readlink /proc/*/fd/* | grep -c '/routes[.]yaml'",
        'python3 -c "import urllib.request; urllib.request.urlopen(\'https://inference.local/v1/models\')" 2>&1 | tail -1',
      ].join('; ');
      const { stdout, stderr } = await finish(
        run(setup, ['/bin/sh', '-c', script], { policy, options: ['--inference-routes', routes] }),
      );
      const [first, second, unread, found, open, refused] = stdout.split('\n');
      expect([first, second], stderr).toEqual([
        'POST allowed.demo.test:8443 /v1/chat/completions 22',
        'POST allowed.demo.test:8443 /v1/chat/completions 22',
      ]);
      expect([unread, found, open]).toEqual(['unread', '0', '0']);
      expect(refused).toContain('403');
      expect(stdout + stderr + readFileSync(setup.auditPath, 'utf8')).not.toContain(KEY);
      // What was refused is told once more, as a sum.
      expect(auditEvents(setup).map(({ message }) => message)).toContain(
        '1 refusals of 1 destinations and programs',
      );
      const calls = auditEvents(setup).filter(({ class_uid }) => class_uid === 6003);
      expect(calls).toMatchObject([
        {
          ai_model: { name: 'real-model' },
          actor: { process: { path: '/usr/bin/curl' } },
          http_response: { code: 200 },
        },
        {},
      ]);
    });

    it('a rule that is asked for is shown to the operator, and used once it is in the policy', async () => {
      const setup = prepare(sharedWorld(), mode);
      const policy = writePolicy(setup, OWN);
      const name = `ask-${mode}`;
      const rule = {
        endpoints: [{ host: 'allowed.demo.test', port: 8443, allowed_ips: ['10.77.0.0/24'] }],
        binaries: [{ path: '/usr/bin/curl' }],
      };
      const body = JSON.stringify({
        intent_summary: 'fetch \u001b[31mthings',
        operations: [{ addRule: { ruleName: 'fetch', rule } }],
      });
      writeFileSync(join(setup.work, 'proposal.json'), body);
      const script = [
        'cd "$PWD"',
        'id=$(curl -sS -d @proposal.json http://policy.local/v1/proposals | sed "s/.*accepted_chunk_ids...\\"\\([0-9a-f-]*\\).*/\\1/")',
        'echo asked',
        'curl -sS "http://policy.local/v1/proposals/$id/wait?timeout=60" | grep -o "policy_reloaded.:true"',
        'curl -sS https://allowed.demo.test:8443/x',
      ].join('; ');
      const child = run(setup, ['/bin/sh', '-c', script], {
        policy,
        name,
        options: ['--policy-proposals', '--reload', 'signal'],
      });
      const ended = finish(child);
      await untilPrinted(child, 'asked');
      const shown = await finish(castellan(setup, ['policy', 'proposals', '--sandbox', name]));
      expect(shown.stdout, shown.stderr).toContain(
        'fetch: asked for by /usr/bin/curl, which says: fetch \\u{1b}[31mthings',
      );
      const pasted = shown.stdout
        .split('\n')
        .filter((line) => line.startsWith('  '))
        .join('\n');
      appendFileSync(policy, `${pasted}\n`);
      child.kill('SIGHUP');
      const { stdout, stderr } = await ended;
      expect(stdout, stderr).toBe('asked\npolicy_reloaded":true\nGET allowed.demo.test:8443 /x 0\n');
      const states = auditEvents(setup).flatMap(({ unmapped }) =>
        unmapped?.['setting'] === 'policy_proposal' ? [unmapped['state']] : [],
      );
      expect(states).toEqual(['pending', 'approved']);
    });

    it('a mistake in the routes stops the start, with its place and without the key', async () => {
      const setup = prepare(sharedWorld(), mode);
      const policy = writePolicy(setup, OWN);
      const routes = writeRoutes(setup, `    api_kay: ${KEY}\n`);
      const { code, stderr } = await finish(
        run(setup, ['/bin/true'], { policy, options: ['--inference-routes', routes] }),
      );
      expect(code).not.toBe(0);
      expect(stderr).toContain('7:5: unknown key in a route, did you mean "api_key"?');
      expect(stderr + readFileSync(setup.auditPath, 'utf8')).not.toContain(KEY);
    });
  },
);

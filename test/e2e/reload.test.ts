/** A policy that changes while an agent runs: what it may reach changes with it, and the log tells. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ALLOW_CURL,
  auditEvents,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

/** Asks whenever it is told to, and says what came of it. */
const ASKING =
  'echo started; while read -r word; do echo "$word: $(curl -s -o /dev/null -w "%{http_connect}" https://allowed.demo.test:8443/)"; done';
/** As ALLOW_CURL, and each request is inspected: TLS is opened that was not at the start. */
const INSPECTED = ALLOW_CURL.replace('allowed_ips', 'protocol: rest, access: read-only, allowed_ips');

describe.skipIf(!isRoot).each(MODES)(
  'a policy that changes, %s (needs root to make the test world)',
  (mode) => {
    it('is put in force at SIGHUP, and the command does not see the signal', async () => {
      const setup = prepare(sharedWorld(), mode);
      const policy = writePolicy(setup);
      const text = readFileSync(policy, 'utf8');
      const child = run(setup, ['/bin/sh', '-c', ASKING], {
        policy,
        stdin: 'pipe',
        options: ['--reload', 'signal'],
      });
      const ended = finish(child);
      const ask = async (word: string): Promise<void> => {
        const answered = untilPrinted(child, `${word}:`);
        child.stdin?.write(`${word}\n`);
        await answered;
      };
      await untilPrinted(child, 'started');
      await ask('before');
      for (const [word, network] of [
        ['allowed', ALLOW_CURL],
        ['broken', 'network_policies: 7\n'],
        ['inspected', INSPECTED],
        ['after', ''],
      ] as const) {
        writeFileSync(`${policy}.new`, `${text}${network}`);
        renameSync(`${policy}.new`, policy);
        const before = policyEvents(setup).length;
        child.kill('SIGHUP');
        await expect.poll(() => policyEvents(setup).length).toBe(before + 1);
        await ask(word);
      }
      child.stdin?.end();
      const { code, stdout } = await ended;
      expect(code).toBe(0);
      expect(stdout).toBe('started\nbefore: 403\nallowed: 200\nbroken: 200\ninspected: 200\nafter: 403\n');
      expect(policyEvents(setup).filter(({ severity_id }) => severity_id === 4)).toHaveLength(1);
    });

    it('is not read again where the agent could write it', async () => {
      const setup = prepare(sharedWorld(), mode);
      const policy = writePolicy(setup);
      const own = join(setup.work, 'policy.yaml');
      writeFileSync(own, readFileSync(policy));
      const { code, stderr } = await finish(
        run(setup, ['/bin/true'], { policy: own, options: ['--reload', 'watch'] }),
      );
      expect(code).toBe(104);
      expect(stderr).toContain('the agent may write');
    });
  },
);

function policyEvents(setup: Parameters<typeof auditEvents>[0]) {
  return auditEvents(setup).filter(({ message }) => message.startsWith('policy '));
}

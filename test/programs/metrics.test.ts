/** Metrics, read by Prometheus’ own checker. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isRoot, prepare, run, untilPrinted, useWorld, writePolicy } from '../e2e/sandbox.ts';
import { unpackPackage } from '../fakes/debian-package.ts';

const world = useWorld();
const ADDRESS = '10.77.0.1:9921';
/** The package is downloaded for the first run. */
const DEADLINE_MS = 120_000;

it.skipIf(!isRoot)(
  'promtool takes them, and has nothing to remark (needs root to make the test world)',
  async () => {
    const promtool = join(unpackPackage('prometheus'), 'usr/bin/promtool');
    const setup = prepare(world(), 'root');
    const script = 'curl -s http://forbidden.demo.test/; echo running; exec sleep 1000';
    const child = run(setup, ['/bin/sh', '-c', script], {
      policy: writePolicy(setup),
      options: ['--grace', '0', '--metrics-listen', ADDRESS],
    });
    await untilPrinted(child, 'running');
    const curl = world().spawn(['curl', '-sS', `http://${ADDRESS}/metrics`], { stdio: 'pipe' });
    const text = (await curl.stdout?.toArray())?.join('');
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    });
    expect(text).toContain('castellan_denials_total{reason="no_policy"} 1');
    expect(stdout + stderr).toBe('');
    expect(status).toBe(0);
    child.kill('SIGTERM');
    await once(child, 'close');
  },
  DEADLINE_MS,
);

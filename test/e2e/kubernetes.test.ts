/** The verbs for Kubernetes, as their user calls them. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../architecture/sources.ts';
import { CASTELLAN } from '../fakes/world.ts';

const VECTORS = join(ROOT, 'test/vectors/kubernetes');

function castellan(args: readonly string[], input = '') {
  return spawnSync(CASTELLAN, ['kubernetes', ...args], { input, encoding: 'utf8' });
}

describe('castellan kubernetes', () => {
  it('renders what it validates, through a pipe', () => {
    const request = readFileSync(join(VECTORS, 'sidecar.request.yaml'), 'utf8');
    const options = [
      '--kind',
      'Sandbox',
      '--scc',
      '--namespace-annotations',
      join(VECTORS, 'namespace.yaml'),
    ];
    const rendered = castellan(['render', '-f', '-', ...options], request);
    expect(rendered.stdout).toBe(readFileSync(join(VECTORS, 'sidecar.yaml'), 'utf8'));
    const validated = castellan(['validate', '-', '--require-castellan', '--json'], rendered.stdout);
    expect(validated.status).toBe(0);
    expect(JSON.parse(validated.stdout)).toMatchObject({
      pods: [{ kind: 'Sandbox', supervised: true, identity: 'uid 1000680000, gid 1000690000', findings: [] }],
    });
  });

  it('tells what is to be corrected by exit code 1, with the line', () => {
    const pod = readFileSync(join(VECTORS, 'combined.yaml'), 'utf8');
    const { status, stdout } = castellan(
      ['validate', '-'],
      pod.replace('defaultMode: 256', 'defaultMode: 420'),
    );
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^-:\d+: agent: spec\.volumes\[3\]: .* mode 0644, .*; set defaultMode: 256.* \[secret-opened\]$/m,
    );
  });

  it.each([
    [['validate', '-'], 'kind: ConfigMap\n', 1, 'nothing in it makes a pod'],
    [['validate', '-'], 'a: [', 118, '-:1:'],
    [['render', '-f', '-'], 'name: x\n', 118, '-:1:1: image is missing (and 3 more)'],
    [['render', '-f', '/nowhere'], '', 118, 'ENOENT'],
    [['render'], '', 100, 'takes -f REQUEST'],
    [['render', '-f', '-', '--topology', 'both'], '', 100, 'one of combined, sidecar'],
  ])('%j', (args, input, status, message) => {
    const outcome = castellan(args, input);
    expect(outcome.stdout + outcome.stderr).toContain(message);
    expect(outcome.status).toBe(status);
  });
});

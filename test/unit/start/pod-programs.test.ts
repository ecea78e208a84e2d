/** How the sidecar's rules come to know programs, with a process role that says what it likes, or nothing. */
import { describe, expect, test, vi } from 'vitest';
import type { PodConfig } from '../../../src/config/pod.ts';
import type { NetworkRule } from '../../../src/policy/document.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { roleLost } from '../../../src/roles/channel.ts';
import type { BinaryTargets } from '../../../src/roles/control/message.ts';
import { judgePrograms } from '../../../src/start/pod-programs.ts';

const policyFor = (...binaries: string[]) =>
  parsePolicy(
    JSON.stringify({
      version: 1,
      network_policies: {
        r: { endpoints: [{ host: 'a.test', port: 443 }], binaries: binaries.map((path) => ({ path })) },
      },
    }),
    'p',
  );
const pathsOf = (rules: readonly NetworkRule[] = []) =>
  rules.flatMap(({ binaries }) => binaries.map(({ path }) => path));

function world(binaryIdentity: PodConfig['binaryIdentity'], policy = policyFor('/bin/a')) {
  const programs = judgePrograms({
    pod: { binaryIdentity } as PodConfig,
    entrance: { diag: -1, inode: '0' },
    policy,
    report: () => {},
  });
  const inForce: string[][] = [];
  const network = {
    async replacePolicy(rules: readonly NetworkRule[]) {
      inForce.push(pathsOf(await programs.resolveRules(rules)));
      return 0;
    },
  };
  const asked: { readonly paths: readonly string[]; answer(targets: BinaryTargets): void; lose(): void }[] =
    [];
  const replacePolicy = ({ binaries: paths }: { readonly binaries: readonly string[] }) => {
    const { promise, resolve, reject } = Promise.withResolvers<BinaryTargets>();
    asked.push({ paths, answer: resolve, lose: () => reject(roleLost('gone')) });
    return promise;
  };
  const container = {
    identify: async () => ({ ok: false, reason: 'x' }) as const,
    prepared: binaryIdentity === 'process' ? replacePolicy(programs.policy) : Promise.resolve({}),
    replacePolicy,
  };
  /** Has the process role accepted once it has answered. */
  const accept = async (targets: BinaryTargets): Promise<void> => {
    asked[0]?.answer(targets);
    await programs.accept(container, peer, network);
  };
  const peer = { pid: process.pid, uid: 1, gid: 1 };
  return { programs, network, inForce, asked, container, peer, accept };
}

describe('asked of the process role', () => {
  test('the command waits for the first answer', async () => {
    const { inForce, asked, accept } = world('process');
    expect(asked).toMatchObject([{ paths: ['/bin/a'] }]);
    await accept({ '/bin/a': '/bin/b' });
    expect(inForce).toEqual([['/bin/a', '/bin/b']]);
  });

  test('links are followed anew for a policy that names the same programs', async () => {
    const { network, inForce, asked, accept } = world('process');
    await accept({ '/bin/a': '/bin/b' });
    const replaced = network.replacePolicy(policyFor('/bin/a').network);
    asked[1]?.answer({ '/bin/a': '/bin/c' });
    await replaced;
    expect(inForce.at(-1)).toEqual(['/bin/a', '/bin/c']);
  });

  test('who does not answer keeps no right in force that a policy takes away', async () => {
    const { network, inForce, asked, accept } = world('process', policyFor('/bin/a', '/bin/c'));
    await accept({ '/bin/a': '/bin/b', '/bin/c': '/bin/d' });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const replaced = network.replacePolicy(policyFor('/bin/c', '/bin/e').network);
      await vi.advanceTimersByTimeAsync(1000);
      await replaced;
    } finally {
      vi.useRealTimers();
    }
    expect(inForce.at(-1)).toEqual(['/bin/c', '/bin/e', '/bin/d']);
    // What comes late is not lost, nor asked for again: who is always late would be asked without end.
    asked[1]?.answer({ '/bin/c': '/bin/d', '/bin/e': '/bin/f' });
    await vi.waitFor(() => expect(inForce.at(-1)).toEqual(['/bin/c', '/bin/e', '/bin/d', '/bin/f']));
    expect(asked).toHaveLength(2);
  });

  test('a late answer about an earlier policy does not bring it back', async () => {
    const { programs, network, inForce, asked, container, peer } = world('process');
    const accepted = programs.accept(container, peer, network);
    const replaced = network.replacePolicy(policyFor('/bin/z').network);
    asked[1]?.answer({});
    await replaced;
    asked[0]?.answer({ '/bin/a': '/bin/b' });
    await accepted;
    expect(inForce).toEqual([['/bin/z'], ['/bin/z']]);
  });

  test('an answer that an earlier policy gets later takes nothing from the newest', async () => {
    const { network, inForce, asked, accept } = world('process');
    await accept({});
    const earlier = network.replacePolicy(policyFor('/bin/a', '/bin/b').network);
    const newest = network.replacePolicy(policyFor('/bin/y').network);
    asked[2]?.answer({ '/bin/y': '/bin/z' });
    await newest;
    asked[1]?.answer({ '/bin/b': '/bin/c' });
    await earlier;
    expect(inForce.slice(-2)).toEqual([
      ['/bin/y', '/bin/z'],
      ['/bin/y', '/bin/z'],
    ]);
  });

  test('a loss before the first answer is told', async () => {
    const { programs, network, asked, container, peer } = world('process');
    const accepted = programs.accept(container, peer, network);
    asked[0]?.lose();
    await expect(accepted).rejects.toMatchObject({ code: 'role_lost' });
  });
});

describe('looked at by the sidecar', () => {
  test('nobody is asked', async () => {
    const { programs, network, inForce, asked, container, peer } = world(
      'sidecar',
      policyFor('/proc/self/exe', '/bin/sh'),
    );
    expect(programs.policy.binaries).toEqual([]);
    await programs.accept(container, peer, network);
    expect(asked).toEqual([]);
    expect(inForce[0]?.slice(0, 2)).toEqual(['/proc/self/exe', '/bin/sh']);
    // On Debian, a link to dash in a directory that is one.
    expect(inForce[0]?.slice(2)).toEqual(['/usr/bin/dash']);
    programs[Symbol.dispose]();
  });

  test('a process role that is gone is a loss', async () => {
    const { programs, network, container } = world('sidecar');
    const nobody = { pid: 2 ** 22 + 1, uid: 1, gid: 1 };
    await expect(programs.accept(container, nobody, network)).rejects.toMatchObject({ code: 'role_lost' });
  });
});

test('where nobody looks, every program has the rights', async () => {
  const { programs, network, inForce, asked, container, peer } = world('none');
  await programs.accept(container, peer, network);
  await network.replacePolicy(policyFor('/bin/z').network);
  expect(asked).toEqual([]);
  expect(inForce).toEqual([['/**']]);
});

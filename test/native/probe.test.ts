import { release } from 'node:os';
import { expect, test } from 'vitest';
import { probeKernel } from '../../src/kernel/probe.ts';
import { isRoot, NETNS_HELPER } from './namespace-client.ts';

const toolDirectories = ['/usr/sbin', '/sbin'];

test('the probe finds what the other tests here rely on', async () => {
  const facts = await probeKernel({ helper: NETNS_HELPER, toolDirectories });
  expect(facts).toMatchObject({
    kernelRelease: release(),
    nodeVersion: process.version,
    root: isRoot,
    landlockAbi: { ok: true, value: expect.any(Number) },
    seccomp: { ok: true, value: expect.arrayContaining(['errno', 'allow']) },
    userNamespaces: { ok: true, value: 'usable' },
    sealedNamespace: { ok: true, value: isRoot ? 'as root' : 'in a user namespace' },
    ip: { ok: true, value: expect.stringMatching(/^\/.*\/ip$/) },
    nft: { ok: true, value: expect.stringMatching(/^\/.*\/nft$/) },
  });
});

test('what cannot be tried has a reason', async () => {
  const { userNamespaces, sealedNamespace, landlockAbi } = await probeKernel({
    helper: '/nonexistent/castellan-netns',
    toolDirectories,
  });
  for (const fact of [userNamespaces, sealedNamespace])
    expect(fact).toEqual({
      ok: false,
      reason: expect.stringContaining('/nonexistent/castellan-netns (ENOENT)'),
    });
  expect(landlockAbi.ok).toBe(true);
});

test('an abort ends it', async () => {
  await expect(
    probeKernel({ helper: NETNS_HELPER, toolDirectories, signal: AbortSignal.abort(new Error('enough')) }),
  ).rejects.toThrow('enough');
});

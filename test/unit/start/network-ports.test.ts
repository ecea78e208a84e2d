import { describe, expect, it } from 'vitest';
import type { RunConfig } from '../../../src/config/config.ts';
import type { UpstreamProxy } from '../../../src/config/upstream-proxy.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { rolePorts } from '../../../src/start/role-launch.ts';

const policy = parsePolicy(
  'version: 1\nnetwork_policies: {r: {endpoints: [{host: a.example, ports: [80, 443]}], binaries: [{path: /b}]}}\n',
  'p',
);
const proxy: UpstreamProxy = {
  scheme: 'http',
  host: 'proxy.example',
  port: 3128,
  exceptions: [],
  byHostName: false,
};
const exception = { kind: 'any', value: '', port: undefined } as const;
const reload: RunConfig['reload'] = { when: 'signal', invalid: 'keep' };
const routes: RunConfig['secretFiles'] = { inferenceRoutes: '/routes' };

describe('the ports that the network role may connect to', () => {
  it.each([
    ['those of the rules', undefined, undefined, [53, 80, 443]],
    ['any, where the rules may change', undefined, reload, undefined],
    ['any, where there are routes to models', undefined, undefined, undefined, routes],
    ['that of the proxy alone, where everything goes through it', proxy, undefined, [53, 3128]],
    ['the same where the rules may change', proxy, reload, [53, 3128]],
    ['the same where there are routes to models', proxy, undefined, [53, 3128], routes],
    [
      'with exceptions those of the rules too',
      { ...proxy, exceptions: [exception] },
      undefined,
      [53, 3128, 80, 443],
    ],
    [
      'with exceptions any, where the rules may change',
      { ...proxy, exceptions: [exception] },
      reload,
      undefined,
    ],
  ] as const)('%s', (_, upstreamProxy, reload, connect, secretFiles: RunConfig['secretFiles'] = {}) => {
    expect(rolePorts({ reload, secretFiles, upstreamProxy }, policy)).toEqual({ bind: [], connect });
  });
});

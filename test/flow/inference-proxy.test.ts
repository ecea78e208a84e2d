/** Models behind the operator's own proxy: the way to them is that of every origin. */
import { expect, test } from 'vitest';
import { CLOSED_PORT } from '../ports.ts';
import { makeCertificate } from './egress-world.ts';
import { CHAT, json, KEY, localWorld, provider, route } from './local-world.ts';
import { fakeProxy, honest, upstreamProxy } from './upstream-proxy-world.ts';

const BODY = ['-d', '{"messages":[]}'];

test('a route is reached by the proxy, which is told the address that was checked', async () => {
  await using models = await provider(json({ id: 'x' }));
  await using proxy = await fakeProxy(honest);
  await using it = await localWorld({ routes: route(models), ...upstreamProxy(proxy.port) });
  expect((await it.fetch(...BODY, CHAT)).stdout.toString()).toContain('"id":"x"');
  expect(models.calls).toHaveLength(1);
  expect(proxy.heads).toEqual([expect.stringMatching(`^CONNECT 127.0.0.1:${models.port} `)]);
});

test('inside TLS the proxy sees no key, and the route’s own authority proves the provider', async () => {
  using certificate = makeCertificate('models.test');
  await using models = await provider(json({ id: 'x' }), certificate);
  await using proxy = await fakeProxy(honest);
  const ca = `, ca: ${JSON.stringify(certificate.cert)}`;
  const routes = route(models, ca).replace('http://127.0.0.1', 'https://models.test');
  await using it = await localWorld({ routes, ...upstreamProxy(proxy.port) });
  expect((await it.fetch(...BODY, CHAT)).stdout.toString()).toContain('"id":"x"');
  expect(proxy.heads.join()).not.toContain(KEY);
});

test('what the proxy is not for is dialled', async () => {
  await using models = await provider(json({ id: 'x' }));
  const exceptions = [{ kind: 'block', value: '127.0.0.0/8', port: undefined }] as const;
  const around = upstreamProxy(CLOSED_PORT, { exceptions });
  await using it = await localWorld({ routes: route(models), ...around });
  expect((await it.fetch(...BODY, CHAT)).stdout.toString()).toContain('"id":"x"');
});

test('a proxy that is not there is no reason to go around it', async () => {
  await using models = await provider(json({ id: 'x' }));
  await using it = await localWorld({ routes: route(models), ...upstreamProxy(CLOSED_PORT) });
  expect((await it.fetch(...BODY, CHAT)).stdout.toString()).toContain('upstream_proxy_failed');
  expect(models.calls).toEqual([]);
  expect(await it.world.fact('model-called')).toMatchObject({
    detail: expect.stringContaining('upstream proxy'),
  });
});

/** A webhook over HTTPS, the API server that it asks, and whoever sends it reviews. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyPatch } from 'rfc6902';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { parseWebhookConfiguration } from '../../src/kubernetes/webhook/configuration.ts';
import { MUTATE_PATH, openWebhook, VALIDATE_PATH, type Webhook } from '../../src/webhook/webhook.ts';
import {
  LAST_CASE,
  type PodParts,
  podOf,
  type ReviewCase,
  type ReviewParts,
  reviewOf,
} from '../fakes/admission.ts';
import { type FakeApiServer, startApiServer } from '../fakes/api-server.ts';
import { makeAuthority } from '../fakes/authority.ts';

export const authority = makeAuthority('webhook test');
const pair = authority.issue('127.0.0.1');
const directory = mkdtempSync(join(tmpdir(), 'castellan-review-'));
export const file = (name: string) => join(directory, name);
export const RANGE = { 'openshift.io/sa.scc.uid-range': '1000680000/10000' };
/** What the webhook has told its log. */
export const lines: string[] = [];

/** Of the test that runs. */
export let api: FakeApiServer;
beforeAll(() => {
  writeFileSync(file('tls.crt'), pair.cert);
  writeFileSync(file('tls.key'), pair.key);
  writeFileSync(file('token'), 'token-1');
});
afterAll(() => {
  authority[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

const hooks: Webhook[] = [];
export async function open(configuration = '', namespaces = true): Promise<Webhook> {
  const hook = await openWebhook({
    files: { certificate: file('tls.crt'), key: file('tls.key'), clientAuthority: undefined },
    listen: { host: '127.0.0.1', port: 0 },
    configuration: parseWebhookConfiguration(
      `version: 1\nimage: castellan:1\n${configuration}`,
      'webhook.yaml',
    ),
    apiServer: namespaces
      ? { host: '127.0.0.1', port: api.port, authority: authority.path, token: file('token') }
      : undefined,
    tell: (line) => lines.push(line),
    now: Date.now,
  });
  hooks.push(hook);
  return hook;
}

beforeEach(async () => {
  api = await startApiServer(pair);
  api.namespaces.set('agents', RANGE);
  lines.length = 0;
});
afterEach(async () => {
  for (const hook of hooks.splice(0)) await hook[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

export async function post(
  { address }: Webhook,
  body: string,
  path = MUTATE_PATH,
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const asked = request({
    host: '127.0.0.1',
    port: address.port,
    path: `${path}?timeout=10s`,
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    ca: authority.ca,
    agent: false,
  });
  asked.on('error', reject).on('response', async (response) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    resolve({ status: response.statusCode ?? 0, body: text });
  });
  asked.end(body);
  return promise;
}

export interface Answer {
  readonly apiVersion: string;
  readonly kind: string;
  readonly response: {
    readonly uid: string;
    readonly allowed: boolean;
    readonly patchType?: string;
    readonly patch?: string;
    readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  };
}

export async function review(
  hook: Webhook,
  of: ReviewCase,
  pod: unknown,
  parts: ReviewParts = {},
  path = MUTATE_PATH,
): Promise<Answer> {
  const { status, body } = await post(hook, JSON.stringify(reviewOf(of, pod, parts)), path);
  expect(status, body).toBe(200);
  return JSON.parse(body);
}

/** What is asked once all pods have been changed. */
export function admission(
  hook: Webhook,
  of: ReviewCase,
  pod: unknown,
  parts: ReviewParts = {},
): Promise<Answer> {
  return review(hook, of, pod, parts, VALIDATE_PATH);
}

export interface Pod {
  metadata: { annotations: Record<string, string> };
  spec: {
    containers: { name: string; command: string[]; args: string[]; volumeMounts: { mountPath: string }[] }[];
    initContainers: { name: string }[];
    volumes: { name: string }[];
    automountServiceAccountToken: boolean;
  };
}

/** The pod with the patch, which another implementation applies. */
export function patched(pod: unknown, { response }: Answer): Pod {
  expect(response).toMatchObject({ allowed: true, patchType: 'JSONPatch' });
  const operations = JSON.parse(Buffer.from(response.patch ?? '', 'base64').toString());
  const changed = structuredClone(pod);
  expect(applyPatch(changed, operations).filter((problem) => problem !== null)).toEqual([]);
  return changed as Pod;
}

export const untouched = (of: ReviewCase) => ({
  apiVersion: of.apiVersion,
  kind: 'AdmissionReview',
  response: { uid: '0df28fbd-5f5f-11e8-bc74-36e6bb280816', allowed: true },
});

/** Whatever a webhook of somebody's may write. */
// biome-ignore lint/suspicious/noExplicitAny: pods of no shape in particular
type Anything = any;
export type Change = (pod: Anything) => void;

/** A pod of LAST_CASE as castellan makes it, and the webhook that did. */
export async function injected(configuration = '', parts: PodParts = {}) {
  const hook = await open(configuration);
  const asking = podOf(LAST_CASE, parts);
  return { hook, pod: patched(asking, await review(hook, LAST_CASE, asking)) };
}

export function changed(pod: Pod, change: Change): Pod {
  const copy = structuredClone(pod);
  change(copy);
  return copy;
}

export const container = (pod: Anything, name: string) =>
  [...pod.spec.initContainers, ...pod.spec.containers].find((one) => one.name === name);

import assert from 'node:assert/strict';
import { applyPatch } from 'rfc6902';
import { CastellanError } from '../../../src/errors.ts';
import type { NamespaceFacts } from '../../../src/kubernetes/identity.ts';
import { parseManifest } from '../../../src/kubernetes/manifest.ts';
import { mountFindings } from '../../../src/kubernetes/rules-mounts.ts';
import { validateManifest } from '../../../src/kubernetes/validate.ts';
import { problemOfBounds } from '../../../src/kubernetes/webhook/bounds.ts';
import { asksForCastellan, CHOICES, readChoices } from '../../../src/kubernetes/webhook/choices.ts';
import { parseWebhookConfiguration } from '../../../src/kubernetes/webhook/configuration.ts';
import { podToAdmit, refuseUnlessSupervised } from '../../../src/kubernetes/webhook/final.ts';
import { type JsonValue, patchBetween } from '../../../src/kubernetes/webhook/json-patch.ts';
import { changePod, choicesOf, podToChange } from '../../../src/kubernetes/webhook/judge.ts';
import {
  type AdmissionReview,
  parseReview,
  REVIEW_VERSIONS,
  renderAnswer,
} from '../../../src/kubernetes/webhook/review.ts';
import { parsedJson } from '../../../src/lib/json.ts';
import { asFilledIn, podOf, REVIEW_CASES, reviewOf } from '../../fakes/admission.ts';
import { returnsOr, type Target, textTarget } from '../target.ts';

/** What the API server says itself, after all webhooks. */
const API_SERVER_RULES = ['unknown-field', 'unknown-volume'];
const NAMESPACE: NamespaceFacts = {
  kind: 'read',
  annotations: { 'openshift.io/sa.scc.uid-range': '1000680000/10000' },
};
const CONFIGURATION = parseWebhookConfiguration(
  'version: 1\nimage: castellan:1\ncompanions: fenced\npods_may_choose: [container, policy, credentials, inference-routes, workdir, seed, topology, binary-identity, identity]\n',
  'webhook.yaml',
);

const isRefused = (error: unknown) =>
  error instanceof CastellanError && ['manifest_invalid', 'identity_invalid'].includes(error.code);

const review = textTarget({
  name: 'admission-review',
  seeds: REVIEW_CASES.map((of) => JSON.stringify(reviewOf(of, podOf(of)))),
  words: [
    '"__proto__":{},',
    '"uid":""',
    '[[[[[[[[',
    'null',
    '"operation":"CONNECT"',
    '"namespace":"../x"',
    '\ud800',
  ],
  maxBytes: 8192,
  check(text) {
    const read = parseReview(text);
    if ('problem' in read) return;
    assert.ok(REVIEW_VERSIONS.includes(read.apiVersion) && read.request.uid !== '');
    assert.match(read.request.namespace, /^[a-z0-9-]*$/);
    const answer = JSON.parse(renderAnswer(read, { kind: 'refused', rule: 'internal', message: text }));
    assert.equal(answer.response.uid, read.request.uid);
    assert.equal(answer.response.allowed, false);
    returnsOr(() => podToAdmit(read, CONFIGURATION), isRefused);
    const pod = returnsOr(() => podToChange(read), isRefused);
    if (pod === undefined) return;
    // Whatever a pod is: it is refused, or what comes out is castellan's, and is known as that.
    const change = (given: typeof pod) =>
      returnsOr(() => changePod(given, choicesOf(given, CONFIGURATION), CONFIGURATION, NAMESPACE), isRefused);
    const operations = change(pod);
    if (operations === undefined) return;
    const changed = structuredClone(pod);
    const problems = applyPatch(changed, structuredClone(operations) as Parameters<typeof applyPatch>[1]);
    assert.ok(problems.every((problem) => problem === null));
    const reports = validateManifest(parseManifest(JSON.stringify(changed), 'pod'), {
      podSecurity: undefined,
      supervised: true,
    });
    for (const { findings } of reports)
      assert.deepEqual(
        findings.filter(({ rule }) => !API_SERVER_RULES.includes(rule)),
        [],
      );
    assert.deepEqual(change(changed), []);
    if (mountFindings(changed.spec, []).some(({ rule }) => API_SERVER_RULES.includes(rule))) return;
    // And it may be stored, as the API server fills it in, and may go on to be.
    const filled = asFilledIn(changed as Parameters<typeof asFilledIn>[0]);
    for (const one of [changed, filled]) {
      const created: AdmissionReview = { ...read, request: { ...read.request, object: one } };
      const admitted = podToAdmit(created, CONFIGURATION);
      assert.ok(admitted !== undefined);
      refuseUnlessSupervised(admitted, choicesOf(admitted, CONFIGURATION), CONFIGURATION, NAMESPACE);
      const updated = { ...created.request, operation: 'UPDATE' as const, oldObject: one };
      assert.equal(podToAdmit({ ...created, request: updated }, CONFIGURATION), undefined);
    }
  },
});

const choices = textTarget({
  name: 'pod-choices',
  seeds: [
    '{"castellan/inject":"true","castellan/identity":"1000680000:5","castellan/policy":"a.b","castellan/topology":"sidecar"}',
    '{"castellan/polcy":"x"}',
  ],
  words: [
    ...CHOICES.map((name) => `"castellan/${name}":"x",`),
    '0',
    ':',
    '"__proto__":"x"',
    '-1',
    '1e9',
    '/',
  ],
  check(text) {
    const annotations = parsedJson(text);
    if (typeof annotations !== 'object' || annotations === null || Array.isArray(annotations)) return;
    const given = annotations as Record<string, unknown>;
    returnsOr(() => asksForCastellan(given), isRefused);
    const read = returnsOr(() => readChoices(given, CHOICES, {}), isRefused);
    if (read === undefined) return;
    for (const name of [read.policy, read.credentials, read.container])
      if (name !== undefined) assert.match(name, /^[a-z0-9][a-z0-9.-]*$/);
    const none = returnsOr(() => readChoices(given, [], {}), isRefused);
    if (none !== undefined)
      assert.ok(Object.values(none).every((value) => value === undefined || value === false));
  },
});

/** Two documents, one a line. */
const patch = textTarget({
  name: 'json-patch',
  seeds: [
    '{"a":[{"name":"x","v":1},{"name":"y"}]}\n{"a":[{"name":"new"},{"name":"x","v":2},{"name":"y"}]}',
    '[1,2,3,{"mountPath":"/a"}]\n[3,2,1,{"mountPath":"/b"},{"mountPath":"/a"}]',
    '{"a/b":1,"c~d":null}\n{"a/b":[],"e":{}}',
  ],
  words: ['{"name":"x"}', '{"mountPath":1},', '[]', '[[]]', ',', '"name":', 'null', '\n', '~1', '""'],
  check(text) {
    const [before, after, ...more] = text.split('\n').map(parsedJson);
    if (before === undefined || after === undefined || more.length > 0) return;
    // rfc6902 goes into no place of this name.
    if (problemOfBounds([before, after]) !== undefined || /constructor|prototype/.test(text)) return;
    const holder = { it: structuredClone(before) };
    const operations = patchBetween(before as JsonValue, after as JsonValue).map((operation) => ({
      ...structuredClone(operation),
      path: `/it${operation.path}`,
    }));
    const problems = applyPatch(holder, operations as Parameters<typeof applyPatch>[1]);
    assert.ok(problems.every((problem) => problem === null));
    assert.deepEqual(holder.it, after);
  },
});

const configuration = textTarget({
  name: 'webhook-configuration',
  seeds: [
    'version: 1\nimage: castellan:1\ntopology: combined\nsandbox_uid: 1000680000\npods_may_choose: [policy, identity]\n',
    'version: 1\nimage: x\nproxy_uid: 1337\nephemeral_containers: allow\n',
  ],
  words: ['sandbox_uid: ', '0x10', '1e9', 'topology: ', 'sidecar', '&a', '*a', '- ', 'version: 1\n'],
  check(text) {
    const read = returnsOr(() => parseWebhookConfiguration(text, 'f'), isRefused);
    if (read === undefined) return;
    for (const id of [read.ids.uid, read.ids.gid, read.supervisor.proxyUid])
      if (id !== undefined) assert.ok(Number.isInteger(id) && id >= 1 && id <= 4_294_967_294);
    assert.notEqual(read.supervisor.image, '');
  },
});

export const ADMISSION_TARGETS: readonly Target[] = [review, choices, patch, configuration];

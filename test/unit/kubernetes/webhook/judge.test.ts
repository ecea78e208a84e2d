import { applyPatch } from 'rfc6902';
import { describe, expect, it } from 'vitest';
import { injectSupervisor } from '../../../../src/kubernetes/inject.ts';
import { parseWebhookConfiguration } from '../../../../src/kubernetes/webhook/configuration.ts';
import { changePod, choicesOf, podToChange } from '../../../../src/kubernetes/webhook/judge.ts';
import { parseReview } from '../../../../src/kubernetes/webhook/review.ts';
import { OPENSHIFT_CASE, podOf, REVIEW_CASES, reviewOf } from '../../../fakes/admission.ts';

const CONFIGURATION = parseWebhookConfiguration(
  'version: 1\nimage: castellan:1\nsandbox_uid: 1000680000\nsandbox_gid: 1000680000\n',
  'f',
);
const ID = { value: 1_000_680_000, source: 'sandbox_uid' };

describe('the patch of a pod', () => {
  it.each([...REVIEW_CASES, OPENSHIFT_CASE])('gives exactly the injected pod ($version)', (of) => {
    const pod = podOf(of) as { metadata: { annotations: Record<string, string> }; spec: object };
    const review = parseReview(JSON.stringify(reviewOf(of, pod)));
    if ('problem' in review) throw new Error(review.problem);
    const asking = podToChange(review);
    if (asking === undefined) throw new Error('the pod does not ask');
    const operations = changePod(asking, choicesOf(asking, CONFIGURATION), CONFIGURATION, {
      kind: 'unknown',
    });
    const changed = structuredClone(pod);
    applyPatch(changed, structuredClone(operations) as Parameters<typeof applyPatch>[1]);

    // Without what admission plugins have mounted, and put together by hand.
    const { annotations: _, ...metadata } = pod.metadata;
    const [agent] = Reflect.get(pod.spec, 'containers') as { volumeMounts?: unknown }[];
    const bare = structuredClone({
      ...pod.spec,
      volumes: [],
      containers: [{ ...agent, volumeMounts: [] }],
    });
    const injected = injectSupervisor(
      { metadata: {}, spec: bare as never },
      {
        ...CONFIGURATION.supervisor,
        identity: { kind: 'ids', uid: ID, gid: { ...ID, source: 'sandbox_gid' } },
      },
    );
    const want = {
      ...pod,
      metadata: {
        ...metadata,
        annotations: { ...pod.metadata.annotations, ...injected.metadata?.annotations },
      },
      spec: injected.spec,
    };
    expect(JSON.parse(JSON.stringify(changed))).toEqual(JSON.parse(JSON.stringify(want)));
  });
});

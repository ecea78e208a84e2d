/** Facts about what castellan answers itself: what of them may cross the wire. */
import { expect, test } from 'vitest';
import { parseToProcessRole } from '../../../src/roles/parse.ts';
import { SAMPLES } from '../audit/facts.ts';

const over = (fact: object): unknown =>
  parseToProcessRole(JSON.parse(JSON.stringify({ type: 'fact', fact })));

const FACTS = [...SAMPLES['model-called'], ...SAMPLES['policy-proposal'], ...SAMPLES['denials-counted']];

test.each(FACTS)('$kind comes over as it is', (fact) => {
  expect(over(fact)).toEqual({ type: 'fact', fact });
});

const [call] = SAMPLES['model-called'];
const [proposal] = SAMPLES['policy-proposal'];
const [counted] = SAMPLES['denials-counted'];
const [denial] = counted.denials;

test.each<[string, object]>([
  ['a prompt', { ...call, prompt: 'x' }],
  ['a count of tokens that no event holds', { ...call, inputTokens: 2 ** 31 }],
  ['half a token', { ...call, outputTokens: 0.5 }],
  ['a model without end', { ...call, model: 'm'.repeat(300) }],
  ['a call that is no request', { ...call, intent: { ...call.intent, http: undefined } }],
  ['a call without identity', { ...call, identity: undefined }],
  ['a proposal without identity', { ...proposal, identity: undefined }],
  ['a state of nobody', { ...proposal, state: 'rejected' }],
  ['an id that is none', { ...proposal, id: '../x' }],
  ['a summary without end', { ...proposal, summary: 'x'.repeat(501) }],
  ['more lines than are told', { ...proposal, grants: Array(9).fill('x') }],
  ['more denials than fit', { ...counted, denials: Array(17).fill(denial) }],
  ['more requests than fit', { ...counted, denials: [{ ...denial, requests: Array(7).fill('GET /') }] }],
  ['a reason of nobody', { ...counted, denials: [{ ...denial, reason: 'x' }] }],
])('%s is no message', (_, fact) => {
  expect(() => over(fact)).toThrow();
});

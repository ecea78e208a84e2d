/**
 * A REVIEW: parse → which pod → what it chooses → ask the namespace → change it, or see that nobody has changed it since → answer.
 * Whatever goes wrong on the way is an answer too, and a refusal: no pod that asks for castellan gets by without it.
 */
import { CastellanError } from '../errors.ts';
import type { NamespaceFacts } from '../kubernetes/identity.ts';
import type { WebhookConfiguration } from '../kubernetes/webhook/configuration.ts';
import { hintForRendered, podToAdmit, refuseUnlessSupervised } from '../kubernetes/webhook/final.ts';
import {
  changePod,
  choicesOf,
  needsNamespace,
  podToChange,
  type SpecifiedPod,
} from '../kubernetes/webhook/judge.ts';
import {
  type AdmissionReview,
  parseReview,
  renderAnswer,
  type Verdict,
} from '../kubernetes/webhook/review.ts';
import { escapeText } from '../lib/escape.ts';
import { at } from '../lib/json.ts';
import { type NamespaceReader, NamespaceUnavailable } from './namespaces.ts';
import type { Reply } from './server.ts';

export interface ReviewOptions {
  readonly configuration: WebhookConfiguration;
  /** Undefined where no API server is there to be asked. */
  readonly namespaces: NamespaceReader | undefined;
  /** For the log: no line holds anything of a pod but its names. */
  readonly tell: (line: string) => void;
}

/** What is asked: to change the pod, or whether it may be stored as it is, after all that was changed. */
export interface Question {
  podOf(review: AdmissionReview, configuration: WebhookConfiguration): SpecifiedPod | undefined;
  verdictOn(...pod: Parameters<typeof changePod>): Verdict;
  /** What may be done about a refusal beside its own remedy. */
  hintFor?(review: AdmissionReview): string | undefined;
}

export const MUTATION: Question = {
  podOf: podToChange,
  verdictOn(...pod) {
    const operations = changePod(...pod);
    return operations.length === 0 ? UNTOUCHED : { kind: 'patched', operations };
  },
};

export const VALIDATION: Question = {
  podOf: podToAdmit,
  verdictOn(...pod) {
    refuseUnlessSupervised(...pod);
    return UNTOUCHED;
  },
  hintFor: hintForRendered,
};

const UNTOUCHED: Verdict = { kind: 'untouched' };

/** Answers one body. @throws never for what a body can hold */
export async function answerReview(body: string, question: Question, options: ReviewOptions): Promise<Reply> {
  const review = parseReview(body);
  if ('problem' in review) return { kind: 'malformed', problem: review.problem };
  const verdict = await judge(review, question, options);
  if (verdict.kind !== 'untouched') options.tell(lineOf(review, verdict));
  return { kind: 'answer', json: renderAnswer(review, verdict) };
}

async function judge(
  review: AdmissionReview,
  question: Question,
  { configuration, namespaces }: ReviewOptions,
): Promise<Verdict> {
  try {
    const pod = question.podOf(review, configuration);
    if (pod === undefined) return UNTOUCHED;
    const choices = choicesOf(pod, configuration);
    const facts = needsNamespace(choices, configuration)
      ? await factsOf(review.request.namespace, namespaces)
      : ({ kind: 'unknown' } as const);
    return question.verdictOn(pod, choices, configuration, facts);
  } catch (error) {
    if (error instanceof NamespaceUnavailable)
      return { kind: 'refused', rule: 'namespace_unavailable', message: error.message };
    if (!(error instanceof CastellanError)) throw error;
    const remedies = [error.remedy, question.hintFor?.(review) ?? []].flat();
    return { kind: 'refused', rule: error.code, message: [error.message, ...remedies].join('; ') };
  }
}

async function factsOf(namespace: string, namespaces: NamespaceReader | undefined): Promise<NamespaceFacts> {
  if (namespaces === undefined)
    throw new NamespaceUnavailable('the webhook has no service account to ask for namespaces with');
  if (namespace === '') throw new NamespaceUnavailable('the review names no namespace');
  return { kind: 'read', annotations: await namespaces.annotationsOf(namespace) };
}

function lineOf({ request }: AdmissionReview, verdict: Verdict): string {
  const { namespace, object, uid } = request;
  // A name that is generated is so only after this.
  const name = request.name || at(object, 'metadata', 'name') || `${at(object, 'metadata', 'generateName')}*`;
  const pod = escapeText(`${namespace}/${name}`, 400);
  const what =
    verdict.kind === 'refused'
      ? `refused (${verdict.rule}): ${escapeText(verdict.message, 1000)}`
      : 'changed';
  return `pod ${pod} ${what} [${escapeText(uid, 64)}]`;
}

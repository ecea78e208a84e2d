/** The process role's answers to the network role's questions. */
import type { Flow, IdentityResult } from '../egress/stages.ts';

/** Searches of /proc at once; more would only slow each other down. */
const MAX_CONCURRENT = 16;

export type Identify = (flow: Flow) => Promise<IdentityResult>;

/**
 * Returns the function that takes one question. It settles as soon as the question has a place, not when it is answered:
 * a reader that awaits it reads no further while all places are taken, which slows the asker down.
 */
export function createAnswerer<Result extends IdentityResult>(
  identify: (flow: Flow) => Promise<Result>,
  send: (id: number, result: Result | Unanswered) => void,
  options: { readonly maxConcurrent?: number } = {},
): (id: number, flow: Flow) => Promise<void> {
  const { maxConcurrent = MAX_CONCURRENT } = options;
  const running = new Set<Promise<void>>();
  return async (id, flow) => {
    while (running.size >= maxConcurrent) await Promise.race(running);
    const work: Promise<void> = answerOne(identify, flow)
      .then((result) => send(id, result))
      .finally(() => running.delete(work));
    running.add(work);
  };
}

type Unanswered = Extract<IdentityResult, { readonly ok: false }>;

async function answerOne<Result>(
  identify: (flow: Flow) => Promise<Result>,
  flow: Flow,
): Promise<Result | Unanswered> {
  try {
    return await identify(flow);
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : 'identification failed' };
  }
}

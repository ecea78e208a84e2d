/** The network role's questions: who is behind a connection. */
import type { Flow, IdentityResult } from '../egress/stages.ts';

/** The process role reads /proc and may have to hash a large executable once. */
const ANSWER_DEADLINE_MS = 5000;
/** One for each connection that may be open at once, so that no other limit is hidden here. */
const MAX_OUTSTANDING = 4096;

export interface Asker {
  /** Never rejects: no answer is an unknown identity. */
  identify(flow: Flow): Promise<IdentityResult>;
  /** Hands over an answer; one that comes too late is dropped. */
  settle(id: number, result: IdentityResult): void;
  /** Questions without an answer yet. */
  readonly waiting: number;
  /** Answers everything still open, and all later questions, with `reason`. */
  end(reason: string): void;
}

/** Pairs questions with answers by number. */
export function createAsker(
  send: (id: number, flow: Flow) => void,
  options: { readonly deadlineMs?: number; readonly maxOutstanding?: number } = {},
): Asker {
  const { deadlineMs = ANSWER_DEADLINE_MS, maxOutstanding = MAX_OUTSTANDING } = options;
  const open = new Map<number, (result: IdentityResult) => void>();
  let lastId = 0;
  let ended: string | undefined;
  const settle = (id: number, result: IdentityResult): void => open.get(id)?.(result);
  return {
    settle,
    get waiting() {
      return open.size;
    },
    identify(flow) {
      if (ended !== undefined) return Promise.resolve({ ok: false, reason: ended });
      if (open.size >= maxOutstanding)
        return Promise.resolve({ ok: false, reason: 'too many connections are waiting to be identified' });
      lastId += 1;
      const id = lastId;
      return new Promise((resolve) => {
        const reason = `the process role did not answer within ${deadlineMs} ms`;
        const timer = setTimeout(() => settle(id, { ok: false, reason }), deadlineMs);
        open.set(id, (result) => {
          clearTimeout(timer);
          open.delete(id);
          resolve(result);
        });
        send(id, flow);
      });
    },
    end(reason) {
      ended = reason;
      for (const id of [...open.keys()]) settle(id, { ok: false, reason });
    },
  };
}

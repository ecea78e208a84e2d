/** What a client says over a WebSocket that is open, judged message by message. */
import type { RequestVerdict } from '../../policy/judge.ts';
import { type RequestNames, requestNames } from '../../policy/request-names.ts';
import type { DenyVerdict } from '../../policy/verdict.ts';

export type Ruling =
  | { readonly kind: 'pass' }
  /** Instead of going on, the message gets this answer. */
  | { readonly kind: 'answer'; readonly text: string }
  | { readonly kind: 'close'; readonly verdict: DenyVerdict };

export interface Conversation {
  /** The origin has opened it, and speaks this subprotocol; empty for none. */
  opened?(subprotocol: string): void;
  /** In the order of the messages; never rejects. */
  judge(message: Buffer, isBinary: boolean): Promise<Ruling> | Ruling;
  /** A text of the origin, which passes. */
  answered?(message: Buffer): void;
}

/** Where what is asked over a WebSocket is told. */
export interface Witness {
  /** Settles when more can be recorded; undefined where it can now. */
  ready(): Promise<void> | undefined;
  asked(names: RequestNames, verdict: RequestVerdict): void;
}

export const PASS: Ruling = { kind: 'pass' };

/** Text of any kind, for which the path decides. Its first text is told. */
export function textConversation(verdict: RequestVerdict, witness: Witness): Conversation {
  let told = false;
  return {
    judge(_message, isBinary) {
      if (isBinary) return PASS;
      // The refusal ends the whole connection, whose record tells it.
      if (!verdict.allow) return { kind: 'close', verdict };
      if (!told) witness.asked(requestNames('websocket', { kind: 'websocket-text' }), verdict);
      told = true;
      return PASS;
    },
  };
}

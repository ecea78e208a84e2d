/**
 * GraphQL over a WebSocket, in its two subprotocols: graphql-transport-ws (the library graphql-ws) and the older graphql-ws
 * (the library subscriptions-transport-ws). Operations are judged one by one. What is refused gets an error under its own id,
 * which clients report for that operation alone; what cannot be read ends the connection.
 */
import { mentionsPlaceholder } from '../../credential/placeholder.ts';
import type { Inspection } from '../../policy/document.ts';
import type { Route } from '../../policy/judge.ts';
import { denialBody } from '../../policy/reason.ts';
import type { RequestFacts } from '../../policy/request.ts';
import { requestNames } from '../../policy/request-names.ts';
import type { DenyVerdict, Query } from '../../policy/verdict.ts';
import { type Conversation, PASS, type Ruling, type Witness } from './conversation.ts';
import { readGraphqlPayload } from './graphql.ts';
import { SUBPROTOCOLS, type Subprotocol } from './graphql-subprotocols.ts';
import { parseStrictJson } from './strict-json.ts';

/** Under way at once in one connection: each is judged again when the policy changes. */
const MAX_OPERATIONS = 256;
const MAX_ID_LENGTH = 256;
/** Messages of the origin that end an operation are shorter; no others are looked at. */
const MAX_END_BYTES = 64 * 1024;

export interface GraphqlConversationOptions {
  /** Of the request that opens the WebSocket. */
  readonly facts: RequestFacts;
  readonly route: Route;
  readonly query: Query;
  readonly witness: Witness;
}

export interface GraphqlConversation extends Conversation {
  /** Of the opening and of every operation under way. */
  readonly facts: readonly [RequestFacts, ...RequestFacts[]];
  /** Another policy judges from now on. */
  renew(route: Route): void;
}

class Unreadable extends Error {}

export function graphqlConversation(options: GraphqlConversationOptions): GraphqlConversation {
  const { facts: opening, query, witness } = options;
  let { route } = options;
  let subprotocol: Subprotocol | undefined;
  const running = new Map<string, RequestFacts>();

  const refuse = (id: string, verdict: DenyVerdict, { payload }: Subprotocol): Ruling => {
    const denial = denialBody(verdict, query, { method: opening.method, path: opening.path.allow[0] ?? '' });
    const error = { message: verdict.detail, extensions: { code: 'POLICY_DENIED', denial } };
    return {
      kind: 'answer',
      text: JSON.stringify({ id, type: 'error', payload: payload(error) }),
    };
  };
  const begin = (id: string, payload: unknown, spoken: Subprotocol): Ruling => {
    const { inspection, rule: nearest } = route;
    const read = readGraphqlPayload(payload, { persisted: inspection.persistedQueries });
    if (!read.ok) {
      const verdict = { allow: false, reason: 'request_unreadable', detail: read.detail, nearest } as const;
      witness.asked({ protocol: 'websocket' }, verdict);
      return refuse(id, verdict, spoken);
    }
    const body = { kind: 'graphql', operations: [read.operation], asText: true } as const;
    const facts = { ...opening, body };
    const verdict = route.judge(facts);
    if (verdict.allow && running.size >= MAX_OPERATIONS && !running.has(id))
      throw new Unreadable(`more than ${MAX_OPERATIONS} operations are under way`);
    witness.asked(requestNames('websocket', body), verdict);
    if (!verdict.allow) return refuse(id, verdict, spoken);
    running.set(id, facts);
    return PASS;
  };
  const take = (message: Buffer): Ruling => {
    const { type, id, payload } = readMessage(message, route.inspection);
    if (subprotocol === undefined) throw new Unreadable('the origin took no subprotocol');
    // Ids come back with every answer, and variables in errors; and what was judged must not become something else.
    if (
      route.credentials?.rewriteWebSocket &&
      type !== 'connection_init' &&
      mentionsPlaceholder(message.toString())
    )
      throw new Unreadable('a placeholder stands outside connection_init, the one message for credentials');
    if (subprotocol.pass.includes(type)) return PASS;
    if (type !== subprotocol.begin && type !== subprotocol.end)
      throw new Unreadable('the subprotocol has no message of this type');
    if (typeof id !== 'string' || id === '' || id.length > MAX_ID_LENGTH)
      throw new Unreadable('the message has no id, or a long one');
    if (type === subprotocol.end) {
      running.delete(id);
      return PASS;
    }
    return begin(id, payload, subprotocol);
  };
  return {
    get facts() {
      return [opening, ...running.values()] as const;
    },
    opened(name) {
      subprotocol = Object.hasOwn(SUBPROTOCOLS, name) ? SUBPROTOCOLS[name] : undefined;
    },
    renew(other) {
      route = other;
    },
    async judge(message, isBinary) {
      await witness.ready();
      try {
        if (isBinary) throw new Unreadable('GraphQL goes as text, and this is a binary message');
        return take(message);
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        const { rule: nearest } = route;
        return {
          kind: 'close',
          verdict: { allow: false, reason: 'request_unreadable', detail: error.message, nearest },
        };
      }
    },
    answered(message) {
      const ended = endedOperation(message);
      if (ended !== undefined) running.delete(ended);
    },
  };
}

interface Message {
  readonly type: string;
  readonly id: unknown;
  readonly payload: unknown;
}

function readMessage(bytes: Buffer, { maxBodyBytes }: Inspection): Message {
  if (bytes.length > maxBodyBytes) throw new Unreadable(`the message is larger than ${maxBodyBytes} bytes`);
  const parsed = parseStrictJson(bytes);
  if (!parsed.ok) throw new Unreadable(parsed.detail.replace('the body', 'the message'));
  const { value } = parsed;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unreadable('the message is no object');
  const member = (key: string): unknown => Reflect.get(value, key);
  const type = member('type');
  if (typeof type !== 'string') throw new Unreadable('the message has no type');
  return { type, id: member('id'), payload: member('payload') };
}

/** The id of the operation that a message of the origin ends. */
function endedOperation(message: Buffer): string | undefined {
  if (message.length > MAX_END_BYTES || !(message.includes('"complete"') || message.includes('"error"')))
    return undefined;
  const parsed = parseStrictJson(message);
  if (!parsed.ok || typeof parsed.value !== 'object' || parsed.value === null) return undefined;
  const [type, id] = [Reflect.get(parsed.value, 'type'), Reflect.get(parsed.value, 'id')];
  return (type === 'complete' || type === 'error') && typeof id === 'string' ? id : undefined;
}

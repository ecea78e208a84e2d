/**
 * What an inspector found in one request, in the terms request rules are written in. Everything that a server might read in
 * more than one way is here in all of them, so that allowing takes every reading and refusing takes one.
 */

/** Stands for the method in rules about what goes over an open WebSocket. */
export const WEBSOCKET_TEXT = 'WEBSOCKET_TEXT';

export interface RequestFacts {
  /** As sent, upper case for the methods HTTP defines. */
  readonly method: string;
  readonly path: PathReadings;
  /** Decoded, in the order of the query; a key may come several times. */
  readonly query: readonly (readonly [key: string, value: string])[];
  readonly body: BodyFacts;
}

export interface PathReadings {
  /** All of them must be allowed. */
  readonly allow: readonly string[];
  /** One of them is enough to be refused; holds those of `allow`. */
  readonly deny: readonly string[];
}

export type BodyFacts =
  /** Not looked at: the rules of the endpoint are about method, path and query. */
  | { readonly kind: 'uninspected' }
  | {
      readonly kind: 'graphql';
      readonly operations: readonly GraphqlOperation[];
      /** It came as text over a WebSocket that the request opened. */
      readonly asText?: true;
    }
  | { readonly kind: 'json-rpc'; readonly calls: readonly RpcCall[] }
  | { readonly kind: 'mcp'; readonly calls: readonly RpcCall[] }
  /** One text message of a client over a WebSocket that this request opened. */
  | { readonly kind: 'websocket-text' };

export interface GraphqlOperation {
  readonly type: 'query' | 'mutation' | 'subscription';
  /** Empty where it has none. */
  readonly name: string;
  /** Names of the root fields, aliases resolved, fragments followed; each once. */
  readonly fields: readonly string[];
}

export interface RpcCall {
  /** Empty for what carries no call: a response of the client, the opening of a receive stream, the end of a session. */
  readonly method: string;
  readonly role: 'call' | 'response' | 'receive-stream' | 'session-end';
  /** params.name of tools/call. */
  readonly tool: string | undefined;
  /** params.arguments of tools/call, or params: parsed by a JSON reader that refuses repeated keys. */
  readonly parameters: unknown;
}

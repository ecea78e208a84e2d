import type { InspectedProtocol } from './document.ts';
import { FACT_LIMITS } from './fact-limits.ts';
import type { BodyFacts, GraphqlOperation } from './request.ts';

/**
 * What an inspected request asks for, in the names that rules are written in, for the record: never a value, an argument or a
 * query.
 */
export interface RequestNames {
  readonly protocol: InspectedProtocol;
  readonly operations?: readonly GraphqlOperation[];
  readonly calls?: readonly { readonly method: string; readonly tool?: string }[];
  /** A text of the client over a WebSocket. */
  readonly text?: true;
  /** There was more than a record has room for. */
  readonly partial?: true;
}

/** A record has room for 16 KiB in all. */
const MAX_CHARACTERS = 4096;

/** What of a request goes into its record. */
export function requestNames(protocol: InspectedProtocol, body: BodyFacts): RequestNames {
  const names = allNames(protocol, body);
  const lists = [names.operations ?? [], names.calls ?? [], ...(names.operations ?? []).map((o) => o.fields)];
  const texts = [
    ...(names.operations ?? []).flatMap(({ name, fields }) => [name, ...fields]),
    ...(names.calls ?? []).flatMap(({ method, tool = '' }) => [method, tool]),
  ];
  const fits =
    lists.every((list) => list.length <= FACT_LIMITS.names) &&
    texts.every((text) => text.length <= FACT_LIMITS.name) &&
    texts.reduce((sum, { length }) => sum + length, 0) <= MAX_CHARACTERS;
  return fits ? names : { protocol, partial: true };
}

function allNames(protocol: InspectedProtocol, body: BodyFacts): RequestNames {
  switch (body.kind) {
    case 'uninspected':
      return { protocol };
    case 'websocket-text':
      return { protocol, text: true };
    case 'graphql':
      return { protocol, operations: body.operations };
    case 'json-rpc':
    case 'mcp':
      return {
        protocol,
        calls: body.calls
          .filter(({ role }) => role === 'call')
          .map(({ method, tool }) => ({ method, ...(tool !== undefined && { tool }) })),
      };
  }
}

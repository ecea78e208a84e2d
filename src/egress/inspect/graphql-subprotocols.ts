/** How operations of GraphQL go over a WebSocket. */

export interface Subprotocol {
  /** Begins an operation. */
  readonly begin: string;
  /** By the client. */
  readonly end: string;
  readonly pass: readonly string[];
  /** Of an error: a list in the newer one. */
  readonly payload: (error: object) => unknown;
}

export const SUBPROTOCOLS: Readonly<Record<string, Subprotocol>> = {
  'graphql-transport-ws': {
    begin: 'subscribe',
    end: 'complete',
    pass: ['connection_init', 'ping', 'pong'],
    payload: (error) => [error],
  },
  'graphql-ws': {
    begin: 'start',
    end: 'stop',
    pass: ['connection_init', 'connection_terminate'],
    payload: (error) => error,
  },
};

/** Whether the origin can take nothing but a subprotocol that is read here. */
export function offersGraphql(subprotocols: string | undefined): boolean {
  return (subprotocols ?? '').split(',').every((word) => Object.hasOwn(SUBPROTOCOLS, word.trim()));
}

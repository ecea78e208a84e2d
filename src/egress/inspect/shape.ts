/** Refusals in the words of the protocol that the client speaks: its library then reports them, instead of a broken transport. */
import type { DenialBody } from '../../policy/reason.ts';

export type Shape = (body: DenialBody) => { readonly status: number; readonly body: object };

/** For clients of plain HTTP. */
export const plainShape: Shape = (body) => ({ status: 403, body });

/** GraphQL over HTTP §6.4: an answer of the media type application/json has status 200, and its errors inside. */
export const graphqlShape: Shape = (body) => ({
  status: 200,
  body: { errors: [{ message: body.detail, extensions: { code: 'POLICY_DENIED', denial: body } }] },
});

/** JSON-RPC 2.0 §5.1 leaves -32000 to -32099 to servers. */
const POLICY_DENIED = -32_001;

/**
 * One error for each call that waits for an answer; `ids` are undefined where the request held none, and then plain HTTP has to do.
 * `batch`: the answer to a list is a list.
 */
export function rpcShape(ids: readonly (string | number)[], batch: boolean): Shape {
  if (ids.length === 0) return plainShape;
  return (body) => {
    const errors = ids.map((id) => ({
      jsonrpc: '2.0',
      id,
      error: { code: POLICY_DENIED, message: body.detail, data: body },
    }));
    return { status: 200, body: batch ? errors : (errors[0] ?? {}) };
  };
}

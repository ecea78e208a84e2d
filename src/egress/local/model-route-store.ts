import type { EgressLimits } from '../limits.ts';
import { Origins } from '../relay/origins.ts';
import type { Arrival } from '../stages.ts';
import type { ModelRoute } from './model-routes.ts';

/** The routes in force: from a file at the start, or from whoever replaces them later. */
export interface ModelRouteStore {
  readonly current: readonly ModelRoute[];
  /** Requests under way go on by the routes they have. */
  replace(routes: readonly ModelRoute[]): void;
  /** The routes in the order in which they are to be tried: those that could not be reached a moment ago last. */
  inOrder(routes: readonly ModelRoute[]): ModelRoute[];
  noteReached(route: ModelRoute, reached: boolean): void;
  /** The connections to endpoints that the client of this arrival has open already, of its own like any others. */
  originsOf(arrival: Pick<Arrival, 'origins' | 'signal'>): Origins;
}

export function createModelRouteStore(
  first: readonly ModelRoute[],
  limits: EgressLimits,
  now: () => number = () => performance.now(),
): ModelRouteStore {
  let current = first;
  /** Until when. */
  const resting = new WeakMap<ModelRoute, number>();
  const connections = new WeakMap<Origins, Origins>();
  const rests = (route: ModelRoute): boolean => (resting.get(route) ?? 0) > now();
  return {
    get current() {
      return current;
    },
    replace(routes) {
      current = routes;
    },
    inOrder: (routes) => routes.toSorted((a, b) => Number(rests(a)) - Number(rests(b))),
    noteReached(route, reached) {
      if (reached) resting.delete(route);
      else resting.set(route, now() + limits.modelRouteRestMs);
    },
    originsOf({ origins: own, signal }) {
      const known = own && connections.get(own);
      if (known !== undefined) return known;
      // HTTP/1.1, which every provider speaks, also without TLS; one that closes an idle connection is no news to the client.
      const origins = new Origins({ limits, isHttp2: false, onLost() {} });
      if (own !== undefined) connections.set(own, origins);
      if (signal.aborted) origins.close();
      signal.addEventListener('abort', () => origins.close(), { once: true });
      return origins;
    },
  };
}

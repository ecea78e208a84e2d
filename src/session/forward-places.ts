/** How many forwards a sandbox has at once, and how many of them are being connected. */

/** A browser through `ssh -D` holds some dozens. Each costs the process role a socket, a channel and their buffers. */
export const MAX_FORWARDS_OF_CONNECTION = 128;
export const MAX_FORWARDS = 512;
/**
 * Each launches a process, and holds one of libuv's four threads until its target has answered. The others are for identities
 * and sessions, which must not wait for a target that does not.
 */
const MAX_CONNECTING = 2;

export interface ForwardPlaces {
  /** Of one connection. */
  share(): ForwardShare;
}

export interface ForwardShare {
  /** Undefined where there is no place left; disposing gives it back. */
  take(): Disposable | undefined;
  /** Does the work when its turn has come. */
  inTurn<Result>(work: () => Promise<Result>): Promise<Result>;
}

export function createForwardPlaces(): ForwardPlaces {
  let total = 0;
  let connecting = 0;
  const waiting: (() => void)[] = [];
  return {
    share() {
      let own = 0;
      return {
        take() {
          if (own >= MAX_FORWARDS_OF_CONNECTION || total >= MAX_FORWARDS) return undefined;
          own += 1;
          total += 1;
          return {
            [Symbol.dispose]() {
              own -= 1;
              total -= 1;
            },
          };
        },
        async inTurn(work) {
          if (connecting < MAX_CONNECTING) connecting += 1;
          else await new Promise<void>((resolve) => waiting.push(resolve));
          try {
            return await work();
          } finally {
            // Whoever waits takes over the turn.
            const next = waiting.shift();
            if (next === undefined) connecting -= 1;
            else next();
          }
        },
      };
    },
  };
}

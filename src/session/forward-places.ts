/** How many forwards a sandbox has at once. */

/** A browser through `ssh -D` holds some dozens. Each costs the process role a socket, a channel and their buffers. */
export const MAX_FORWARDS_OF_CONNECTION = 128;
const MAX_FORWARDS = 512;

export interface ForwardPlaces {
  /** Of one connection. */
  share(): ForwardShare;
}

export interface ForwardShare {
  /** Undefined where there is no place left; disposing gives it back. */
  take(): Disposable | undefined;
}

/** The places of one sandbox. */
export function createForwardPlaces(): ForwardPlaces {
  let total = 0;
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
      };
    },
  };
}

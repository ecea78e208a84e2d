/** Whose keys a shared process gets: one holder at a time, so that two people do not type into one line. Pure. */

export interface InputLease {
  /** Gives the input back; later calls do nothing. */
  release(): void;
  held(): boolean;
}

export interface LeaseOffice {
  /** Undefined while somebody else holds it: first come, and nobody is moved up later without asking again. */
  take(): InputLease | undefined;
}

export function createLeaseOffice(): LeaseOffice {
  let holder: symbol | undefined;
  return {
    take() {
      if (holder !== undefined) return undefined;
      const own = Symbol('holder');
      holder = own;
      return {
        release() {
          if (holder === own) holder = undefined;
        },
        held: () => holder === own,
      };
    },
  };
}

/** Ctrl-P Ctrl-Q, the keys that leave an attached process running. Pure. */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

export interface ScannedInput {
  /** What is meant for the process. */
  readonly pass: Buffer;
  /** The keys were pressed; what came after them is nobody's. */
  readonly detach: boolean;
}

export interface DetachScanner {
  scan(chunk: Buffer): ScannedInput;
  /** A Ctrl-P that still waits for its second key when the input ends. */
  rest(): Buffer;
}

/** Finds the keys however the client's packets cut them. A Ctrl-P waits for the key after it, and goes with it if that is another. */
export function detachScanner(): DetachScanner {
  let held = false;
  return {
    scan(chunk) {
      const input = held ? Buffer.concat([Buffer.of(CTRL_P), chunk]) : chunk;
      held = false;
      for (let at = input.indexOf(CTRL_P); at >= 0; at = input.indexOf(CTRL_P, at + 1)) {
        if (at + 1 === input.length) {
          held = true;
          return { pass: input.subarray(0, at), detach: false };
        }
        if (input[at + 1] === CTRL_Q) return { pass: input.subarray(0, at), detach: true };
      }
      return { pass: input, detach: false };
    },
    rest() {
      const rest = held ? Buffer.of(CTRL_P) : Buffer.alloc(0);
      held = false;
      return rest;
    },
  };
}

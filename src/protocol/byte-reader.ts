/**
 * Reads a message front to back. Every read is checked against the end; past it the reader has failed for good and gives
 * zeros and empty arrays, so that a parser can look once, at the end of a structure.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #failed = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether some read went past the end. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Whether everything was read, and nothing past it. */
  get finished(): boolean {
    return !this.#failed && this.#at === this.#bytes.length;
  }

  /** How much has been read. */
  get position(): number {
    return this.#at;
  }

  /** An unsigned number of that many bytes, big-endian. */
  number(size: 1 | 2 | 3 | 4): number {
    return this.bytes(size).reduce((value, byte) => value * 256 + byte, 0);
  }

  /** A view of the next bytes. */
  bytes(size: number): Uint8Array {
    if (this.#failed || size > this.#bytes.length - this.#at) {
      this.#failed = true;
      return new Uint8Array(0);
    }
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  /** Bytes preceded by their count: `opaque x<0..2^8-1>` and its wider kin in TLS. */
  vector(sizeOfLength: 1 | 2 | 3): Uint8Array {
    return this.bytes(this.number(sizeOfLength));
  }
}

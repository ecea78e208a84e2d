/** A source of choices made of bytes: the same bytes, the same choices; at their end everything is the first. */
export class Choices {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether all bytes are used up: loops end here. */
  get exhausted(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number {
    return (limit <= 256 ? this.byte() : this.byte() * 256 + this.byte()) % limit;
  }

  chance(outOf: number): boolean {
    return this.below(outOf) === outOf - 1;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** At most `most` items. */
  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  text(alphabet: readonly string[] | string, most: number): string {
    const characters = [...alphabet];
    return this.list(most, () => this.pick(characters)).join('');
  }

  bytes(most: number): Uint8Array {
    return Uint8Array.from(this.list(most, () => this.byte()));
  }

  rest(): Uint8Array {
    const rest = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    return rest;
  }
}

/**
 * Names and the addresses the sandbox's DNS gives out for them. The addresses lead nowhere: they only tell, when a program
 * dials one, which name it meant. They are given out in turn, so that a freed one stays unused for as long as possible.
 */
import { canonicalAddress } from '../../policy/match/address.ts';

/** 198.18.0.0/16 (RFC 2544), less its first and last address. */
const NETWORK_4 = '198.18';
/**
 * Of 100::/64, the discard prefix (RFC 6666): no host can have it, the destination check never passes it, and clients do
 * not take it for a private network, which some of them (browsers) treat in another way.
 */
const NETWORK_6 = '100::';
const FIRST = 1;
const LAST = 0xfffe;

export interface SyntheticAddresses {
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface SyntheticNames {
  /** The name's addresses, the same for as long as the name is in use; undefined when all places are held by others. */
  addressesOf(name: string): SyntheticAddresses | undefined;
  /** The name an address was given out for. */
  nameOf(address: string): string | undefined;
  /** Keeps the address, and its other one, from being freed until disposed of. */
  hold(address: string): Disposable;
}

interface Entry {
  readonly name: string;
  readonly addresses: SyntheticAddresses;
  usedAt: number;
  held: number;
}

export interface SyntheticNamesOptions {
  readonly capacity: number;
  /** Time after its last use during which a name keeps its address while there is room. */
  readonly graceMs: number;
  readonly now?: () => number;
}

/** Whether only this DNS can have given the address out. */
export function isSynthetic(address: string): boolean {
  return address.startsWith(`${NETWORK_4}.`) || /^100::[0-9a-f]{1,4}$/.test(address);
}

/** An empty table. */
export function createSyntheticNames({
  capacity,
  graceMs,
  now = () => performance.now(),
}: SyntheticNamesOptions): SyntheticNames {
  /** In order of use, the longest unused first. */
  const byName = new Map<string, Entry>();
  const byAddress = new Map<string, Entry>();
  let cursor = FIRST - 1;
  const forget = (entry: Entry): void => {
    byName.delete(entry.name);
    byAddress.delete(entry.addresses.ipv4);
    byAddress.delete(entry.addresses.ipv6);
  };
  const touch = (entry: Entry): void => {
    entry.usedAt = now();
    byName.delete(entry.name);
    byName.set(entry.name, entry);
  };
  const makeRoom = (): boolean => {
    for (const entry of byName.values()) {
      const unused = entry.usedAt + graceMs < now();
      if (!unused && byName.size < capacity) return true;
      if (entry.held === 0) forget(entry);
    }
    return byName.size < capacity;
  };
  const nextAddresses = (): SyntheticAddresses => {
    do cursor = cursor >= LAST ? FIRST : cursor + 1;
    while (byAddress.has(format(cursor).ipv4));
    return format(cursor);
  };
  return {
    addressesOf(name) {
      let entry = byName.get(name);
      if (entry === undefined) {
        if (!makeRoom()) return undefined;
        const addresses = nextAddresses();
        entry = { name, addresses, usedAt: 0, held: 0 };
        byAddress.set(addresses.ipv4, entry);
        byAddress.set(addresses.ipv6, entry);
      }
      touch(entry);
      return entry.addresses;
    },
    nameOf: (address) => byAddress.get(canonicalAddress(address) ?? '')?.name,
    hold(address) {
      const entry = byAddress.get(address);
      if (entry === undefined) return { [Symbol.dispose]() {} };
      entry.held += 1;
      touch(entry);
      return {
        [Symbol.dispose]() {
          entry.held -= 1;
          touch(entry);
        },
      };
    },
  };
}

/** Both families in their canonical spelling. */
function format(number: number): SyntheticAddresses {
  return {
    ipv4: `${NETWORK_4}.${number >> 8}.${number & 0xff}`,
    ipv6: `${NETWORK_6}${number.toString(16)}`,
  };
}

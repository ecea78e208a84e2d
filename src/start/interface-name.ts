import { randomBytes } from 'node:crypto';

/** A name for the inner interface that no other run on this host has, now or later: it marks the processes of this one. */
export function newInterfaceName(): string {
  return `cs-${randomBytes(4).toString('hex')}`;
}

/** Names come back from a file: a wrong one must match nothing, rather than somebody else's processes. */
export function isInterfaceName(name: string): boolean {
  return /^cs-[0-9a-f]{8}$/.test(name);
}

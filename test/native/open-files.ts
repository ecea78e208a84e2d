import { readdirSync, readlinkSync } from 'node:fs';

/** How many of this process's descriptors lead to files below the directory: what a leak would leave. */
export function filesOpenBelow(directory: string): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith(directory);
    } catch {
      return false;
    }
  }).length;
}

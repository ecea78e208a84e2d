/** The network of a pod, which its containers share: sockets made in the namespace that castellan was started in. */
import { readFileSync, statSync } from 'node:fs';
import { CastellanError } from '../errors.ts';
import { askNetnsHelper } from './netns-helper.ts';
import {
  entranceSockets,
  holdEntrance,
  type NetworkEntrance,
  type PlannedSocket,
} from './network-entrance.ts';

export interface PodEntrance extends NetworkEntrance, Disposable {
  /** Whether refused packets are seen. */
  readonly watches: boolean;
}

/**
 * Makes the sockets of the entrance on loopback. Refused packets are seen where the kernel lets us.
 * @param helper absolute path of castellan-netns
 * @throws CastellanError `address_in_use` where somebody has one of the ports, `namespace_failed`
 */
export async function openPodEntrance(helper: string): Promise<PodEntrance> {
  const ipv6 = hasLoopback6();
  for (const watches of [true, false]) {
    const plan = entranceSockets(ipv6, { watches });
    try {
      return { ...(await open(helper, plan)), watches };
    } catch (error) {
      const isUnwatchable =
        watches && error instanceof CastellanError && error.object?.startsWith('nflog ') === true;
      if (!isUnwatchable) throw portTaken(error);
    }
  }
  throw new CastellanError('internal', 'the sockets of the pod were not made', { step: 'namespace' });
}

/** Only what tells who has a connection, for whoever reads /proc. @throws CastellanError `namespace_failed` */
export function openPodDiagnosis(helper: string): Promise<NetworkEntrance & Disposable> {
  return open(helper, [{ use: 'diag', line: 'diag' }]);
}

/** As /proc/pid/ns/net names it. */
export function podNetworkInode(): string {
  return statSync('/proc/self/ns/net', { bigint: true }).ino.toString();
}

async function open(helper: string, plan: readonly PlannedSocket[]): Promise<NetworkEntrance & Disposable> {
  const request = { links: '', ruleset: '', sockets: plan.map(({ line }) => line), ip: '', nft: '' };
  const descriptors = await askNetnsHelper({ helper, flag: '--here' }, request, plan.length);
  return holdEntrance(descriptors, plan, podNetworkInode());
}

/** if_inet6 of proc(5): a kernel without IPv6 has no such file, and one with it may have it turned off on loopback. */
function hasLoopback6(): boolean {
  try {
    return readFileSync('/proc/net/if_inet6', 'latin1').includes(`${'0'.repeat(31)}1 `);
  } catch {
    return false;
  }
}

function portTaken(error: unknown): unknown {
  if (!(error instanceof CastellanError) || error.errno !== 'EADDRINUSE') return error;
  return new CastellanError('address_in_use', `another process of the pod has ${error.object}`, {
    step: 'egress',
    errno: 'EADDRINUSE',
    cause: error,
    ...(error.object !== undefined && { object: error.object }),
  });
}

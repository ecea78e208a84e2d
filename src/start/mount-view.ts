import type { MountStep } from '../launch/spec.ts';
import { covers } from './path-plan.ts';

/**
 * What the agent's private mount namespace covers. Landlock does not mediate connect() to pathname Unix sockets, so
 * castellan's own sockets are hidden from everyone; and a rootless agent, which has the caller's uid, must not
 * reach the caller's session bus, container engine or agent sockets either: all of /run that the policy does not name goes.
 *
 * @param own run base, log directory or audit file
 * @param runEntries paths of the entries of /run, empty when castellan is root (other uids guard them there)
 * @param granted the policy's paths
 */
export function mountView(own: readonly string[], runEntries: readonly string[], granted: readonly string[]): MountStep[] {
  const named = (entry: string) => granted.some((path) => covers(entry, path) || covers(path, entry));
  const hidden = new Set([...own, ...runEntries.filter((entry) => !named(entry))]);
  // A path below another hidden one is gone already, and could not be found to be covered.
  return [...hidden]
    .filter((path) => ![...hidden].some((other) => other !== path && covers(other, path)))
    .map((path) => ({ kind: 'hide', path }));
}

import { CONTROL_DESCRIPTOR, HANDOVER_DESCRIPTOR } from '../roles/message.ts';
import { runNetworkRole } from '../start/network-role.ts';
import type { Verb } from './verb.ts';

/** `castellan network-role`: started by castellan itself with its sockets in place. */
export const verb: Verb = async (_command, { onSignal }) => {
  // The process role decides when to stop; a terminal's Ctrl-C must not take the proxy away before the agent.
  using _ignored = onSignal(() => {});
  // Awaited: the signals are ignored until it has ended.
  return await runNetworkRole({
    controlDescriptor: CONTROL_DESCRIPTOR,
    handoverDescriptor: HANDOVER_DESCRIPTOR,
  });
};

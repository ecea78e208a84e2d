/** The stages of a start, in their one order. README tells the process role's list to users; a test compares them. */

export const PROCESS_ROLE_STAGES = [
  ['run-directory', 'clean up after dead runs, claim the run directory'],
  ['audit', 'open the audit file'],
  ['policy', 'read and validate the policy'],
  ['cgroup', 'make a cgroup where one is delegated'],
  ['network-role', 'start the network role under its own uid, which boots meanwhile'],
  ['identity', 'resolve the sandbox user'],
  ['filesystem', 'create writable paths, open every granted path once'],
  ['ownership', 'make the working directory the sandbox user’s, where asked'],
  ['namespace', 'make the sealed network namespace and the sockets in it'],
  ['egress', 'hand the sockets and the rules to the network role, and wait until it serves'],
  ['ssh', 'listen for SSH on a Unix socket'],
  ['launch', 'launch the command through castellan-launch'],
  ['ready', 'report ready'],
] as const;

/** Of the sidecar of a pod, which has the network side and the log of a sandbox that another container runs. */
export const SIDECAR_STAGES = [
  ['run-directory', 'clean up after dead runs, claim the run directory'],
  ['audit', 'open the audit file'],
  ['privileges', 'see whether this process may do what it was asked to'],
  ['policy', 'read and validate the policy'],
  ['network-role', 'start the network role, which boots meanwhile'],
  ['namespace', 'make the sockets in the network of the pod'],
  ['egress', 'hand the sockets and the rules to the network role, and wait until it serves'],
  ['control-socket', 'listen for the process role of the agent’s container'],
  ['ready', 'report ready'],
] as const;

/** Of `network-init`, which fences a network namespace that others made and share. */
export const NETWORK_INIT_STAGES = [
  ['privileges', 'see whether this process may'],
  ['fence', 'install the ruleset in one transaction'],
  ['read-back', 'compare what the kernel holds with what was meant'],
  ['proof', 'try with real sockets what the fence must divert and refuse'],
  ['state-directory', 'give the shared directory to the network role'],
] as const;

/** Names and what they do, in their order. */
export type StagePlan = readonly (readonly [name: string, work: string])[];

export type StageName = (typeof PROCESS_ROLE_STAGES | typeof SIDECAR_STAGES)[number][0];

/** Runs one stage; the stages must be called in the order of the plan, which keeps the plan true. */
export type RunStage<Name extends string = StageName> = <T>(
  name: Name,
  work: () => Promise<T> | T,
) => Promise<T>;

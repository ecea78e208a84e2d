/** The stages of a start, in their one order. README tells the same list to users; a test compares them. */

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

export type StageName = (typeof PROCESS_ROLE_STAGES)[number][0];

/** Runs one stage; the stages must be called in the order of the plan, which keeps the plan true. */
export type RunStage = <T>(name: StageName, work: () => Promise<T> | T) => Promise<T>;

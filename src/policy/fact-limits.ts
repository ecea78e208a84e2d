/**
 * How much a message between the roles holds, told once: whoever writes a fact, an answer or a policy keeps to these, and the
 * parser of the other role takes no more. What one writes and the other refuses would end the run.
 */
export const FACT_LIMITS = {
  /** Characters of any text: the longest path of a request head, and every sentence of ours; nothing longer belongs in a record. */
  text: 16 * 1024,
  /** Of a host or another name. */
  host: 255,
  /** PATH_MAX of Linux. */
  path: 4096,
  /** Of a method of HTTP. */
  method: 64,
  /** What others put into a certificate or chose as parameters of TLS. */
  tlsText: 256,

  /** Of a process; native/posix/lineage.c reads no more. Deeper chains no person reads and no rule needs. */
  ancestors: 64,
  /** Different programs on one connection: clients hand theirs down to a helper or two, without meaning to. */
  heirs: 16,

  /** As many as the file of credentials may list. */
  credentials: 256,
  /** Of the name of one, which is a variable's, and of the placeholder that has the name in it. */
  credentialName: 128,
  placeholder: 256,
  /** Characters of a file of certificates that a policy names. A whole system's bundle is four times as large: such a one is no pin. */
  certificates: 64 * 1024,

  /** A proposal: what was said of it, and the lines of what it grants. */
  proposalSummary: 500,
  proposalLines: 8,
  /** Of one sum of refusals, all of which has to fit into an event: destinations, requests of each, characters of one. */
  denials: 16,
  deniedRequests: 6,
  deniedRequest: 100,
  /** Rules that ended, in one fact. */
  expiredRules: 16,

  /** What a request was found to ask for: names in a list, characters of one. Real names are far shorter. */
  names: 16,
  name: 256,
  /** Of a route, a provider, a model or an operation. */
  modelWord: 256,
} as const satisfies Record<string, number>;

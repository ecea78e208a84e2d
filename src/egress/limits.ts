import { FACT_LIMITS } from '../policy/fact-limits.ts';
import { MAX_CLIENT_HELLO_BYTES } from '../protocol/tls-client-hello.ts';

/** Every limit and deadline of the egress flow. Times are milliseconds. */
export const EGRESS_LIMITS = {
  /** Clients at once. Each costs up to four descriptors and some tens of KiB: well within Node's raised RLIMIT_NOFILE. */
  connections: 4096,
  /** Beyond these, so many at once are told so; the others are just closed. */
  turnedAway: 64,
  /** Of all, by one process: a runaway program must leave room for the others. */
  connectionsPerProcess: 1024,
  /** Tunnels and requests of all processes: one connection of HTTP/2 carries a hundred, and each may cost its origin's buffers. */
  underWay: 8192,

  /** A request head, as most servers limit it. */
  headBytes: 16 * 1024,
  /** To send a whole request head; a person typing into telnet is not the measure, a slow-loris is. */
  headMs: 30_000,
  /** How often unfinished heads are looked for. */
  headCheckMs: 5000,
  /** Between two requests; clients of ours are local and reconnect for nothing. */
  keepAliveMs: 60_000,
  /** Requests read ahead of their answers; browsers send none, package managers a few. */
  pipelined: 32,
  /** HTTP/2 requests of one connection at once: the number that RFC 9113 §6.5.2 calls the least that is sensible. */
  streams: 100,
  /** What one HTTP/2 connection may hold in memory, in MB as node:http2 counts. */
  sessionMegabytes: 10,
  /** A response head: some origins set many cookies. */
  responseHeadBytes: 64 * 1024,
  /** Without a byte either way during a request: language models may think this long before the first. */
  requestIdleMs: 15 * 60_000,
  /** From the first byte of a response head, or of what follows an interim one, to its end. */
  responseHeadMs: 60_000,
  /** Interim (1xx) responses to one request. */
  interimResponses: 16,

  /** The first bytes looked at: no ClientHello is longer, see protocol/tls-client-hello. */
  openingBytes: MAX_CLIENT_HELLO_BYTES,
  /** For a client whose destination has a name: after that, the server may be the one that speaks first. */
  openingNamedMs: 300,
  /** For a client that dialled a bare address: only its own first bytes may tell the name. */
  openingUnnamedMs: 5000,
  /** To finish a ClientHello that has begun. */
  openingCompleteMs: 10_000,

  /** glibc gives each of at most three servers 5 s: where only the last one works, its answer is here by then. */
  resolveMs: 12_000,
  /** Look-ups at once, each of which holds a thread (see RESOLVER_THREADS)... */
  resolving: 16,
  /** ...of one domain, whose servers may hang: names of three others can still be looked up... */
  resolvingPerDomain: 4,
  /** ...and waiting for their turn, which takes milliseconds where servers answer. */
  resolveQueue: 256,
  /** getaddrinfo tells no TTL. What one page or one install opens comes within seconds; DNS that moves a service is followed. */
  nameCacheMs: 5000,
  /** Enough for a program that tries again at once; a name that was just made must not be missing for long. */
  nameFailureMs: 1000,
  cachedNames: 1024,
  /** Addresses tried for one name; all of them are checked. */
  dialAddresses: 16,
  /** One address, and all of them together. */
  dialAddressMs: 10_000,
  dialMs: 30_000,
  /** RFC 8305 §5: the recommended delay before the next address is tried beside the last. */
  dialStaggerMs: 250,
  /** The operator's proxy, to its answer: it dials for itself meanwhile. */
  upstreamProxyMs: 30_000,
  /** When it is asked for the next address beside the last. */
  upstreamProxyStaggerMs: 5000,
  /** The head of its answer. */
  upstreamProxyHeadBytes: 8 * 1024,
  /** A TLS handshake of either side, once its connection is open; also for a client that has not begun one where it must. */
  handshakeMs: 15_000,
  /** Of all bodies that are judged as a whole, at once: the role has to live in little memory. */
  bodyBytes: 64 * 1024 * 1024,
  /** For one that finds no room: others are soon done, or give up. */
  bodyRoomMs: 10_000,
  /** To send a body that is judged as a whole. */
  bodyMs: 60_000,
  /** A body in which placeholders are replaced; and one that a signature covers, which holds files. */
  rewrittenBodyBytes: 256 * 1024,
  signedBodyBytes: 10 * 1024 * 1024,
  /** A message over a WebSocket is held until it is whole: of the client, and of its origin. */
  clientMessageBytes: 4 * 1024 * 1024,
  originMessageBytes: 16 * 1024 * 1024,
  /** WebSockets at once: each may hold one message of either side. */
  webSockets: 128,
  /** A tunnel without a byte either way; SSH and database sessions idle for long, so the limit is only for the forgotten. */
  tunnelIdleMs: 4 * 60 * 60_000,
  /** The same once one side has ended: what is left is an answer, which comes or does not. */
  halfClosedIdleMs: 5 * 60_000,

  /** A request to a model: histories and pictures in it; and its answer. */
  modelRequestBytes: 10 * 1024 * 1024,
  modelAnswerBytes: 32 * 1024 * 1024,
  /** One event of a streamed answer: a whole picture may be in it. */
  modelEventBytes: 8 * 1024 * 1024,
  /** What is kept of an answer that is no stream, to read its counts. */
  modelUsageBytes: 1024 * 1024,
  /** An error of a provider, looked through before it is passed on. */
  modelErrorBytes: 64 * 1024,
  /** Between two parts of a streamed answer, and before the first. */
  modelIdleMs: 120_000,
  /** A route that could not be reached is the last choice this long. */
  modelRouteRestMs: 10_000,

  /** A request to policy.local: a rule and some words. */
  policyRequestBytes: 64 * 1024,
  /** Proposals kept, of which a person reads those that wait; and read within a minute, with those that are mistaken. */
  proposals: 64,
  proposalsPerMinute: 20,
  /** To wait for a decision at most, and when the client does not say. */
  proposalWaitMs: 300_000,
  proposalWaitDefaultMs: 60_000,
  /** Refusals that policy.local tells of. */
  recentDenials: 100,
  /** Destinations and programs whose refusals are counted apart, and told in one fact, which an event holds; requests told of each. */
  countedDenials: 256,
  listedDenials: FACT_LIMITS.denials,
  denialRequests: FACT_LIMITS.deniedRequests,
  /** How often they are told: each is on record already, this is the sum. */
  denialCountMs: 60_000,

  /** After a refusal, for the client to read it before the close would reset the connection. */
  lingerMs: 2000,
  /** At a stop, for what is under way; the process role kills the network role after 5 s. */
  drainMs: 3000,
  /** After that, for the records of what was cut; they take milliseconds. */
  lastRecordsMs: 1000,
  /** Failures of accept(2) come in floods; one is reported, the rest of this time are not. */
  acceptErrorMs: 5000,

  /** DNS over TCP: RFC 7766 §6.2.3 asks for seconds. */
  dnsIdleMs: 10_000,
  /** Queries alike within this time are one fact and a count... */
  dnsFactMs: 10_000,
  /** ...and beyond so many different ones, only a count: a flood must not drown the record. */
  dnsFacts: 256,
  /** Short, so that a freed address is soon forgotten; programs ask again for nothing. */
  dnsTtlSeconds: 10,
  /** Names with a synthetic address at once; about 3 MiB. */
  syntheticNames: 16_384,
  /** Programs keep answers longer than they should; a name keeps its address this long after its last use. */
  syntheticGraceMs: 10 * 60_000,
} as const satisfies Record<string, number>;

/** For UV_THREADPOOL_SIZE of this role: libuv gives at most half of its threads to look-ups. */
export const RESOLVER_THREADS = 2 * EGRESS_LIMITS.resolving;

export type EgressLimits = { readonly [Name in keyof typeof EGRESS_LIMITS]: number };

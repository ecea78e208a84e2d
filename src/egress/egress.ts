/** A CONNECTION: accept → identify → decide → inspect → inject → dial → relay → record. A stage is a file or folder beside this one. */
import type { Report } from '../audit/event.ts';
import type { UpstreamProxy } from '../config/upstream-proxy.ts';
import { CredentialStore } from '../credential/store.ts';
import type { Decider } from '../policy/compile.ts';
import { checkDestination } from '../policy/destination.ts';
import { type EntranceFigures, openAdapters } from './accept/adapters.ts';
import type { Listeners } from './accept/listeners.ts';
import { kernelDestination, type OriginalDestination } from './accept/transparent.ts';
import { decide } from './decide/decide.ts';
import { createLiveConnections, type LiveConnections, type LiveFigures } from './decide/live.ts';
import { createSystemResolver, type LookupFigures, type Resolver } from './decide/lookup.ts';
import { createProcessQuota, type ProcessQuota } from './identify/quota.ts';
import { conceal, opensFor } from './inject/conceal.ts';
import { inject } from './inject/inject.ts';
import type { Witness } from './inspect/conversation.ts';
import { type Inspected, inspect } from './inspect/inspect.ts';
import { createCertificateAuthority } from './intercept/authority.ts';
import { EGRESS_LIMITS, type EgressLimits } from './limits.ts';
import { createDenialBook } from './local/denials.ts';
import { createModelRouteStore } from './local/model-route-store.ts';
import type { ModelRoute } from './local/model-routes.ts';
import { type LocalOpener, openLocalServices } from './local/open.ts';
import { createRefuser } from './refuse.ts';
import { type ReachOptions, reach } from './relay/reach.ts';
import { createTrust, type Trust } from './relay/trust.ts';
import { createProxyRoute, type ProxyRoute } from './relay/upstream-proxy.ts';
import { cleanReport, type OriginPath, startRecord } from './report.ts';
import type { Arrival, Flow, Grant, IdentityResult, Outcome, Refusal } from './stages.ts';

export interface EgressOptions {
  readonly listeners: Listeners;
  readonly decider: Decider;
  /** Whether a policy that comes later may inspect requests; by default as this one does. */
  readonly mayInspect?: boolean;
  /** Never rejects. */
  readonly identify: (flow: Flow) => Promise<IdentityResult>;
  readonly report: Report;
  /** Ends everything at once; close() is the orderly way. */
  readonly signal: AbortSignal;
  /** Undefined while facts can be taken; else settles when they can be again, and new connections wait for it. */
  readonly congestion?: () => Promise<void> | undefined;
  /** Routes for requests to models; without them there are none. */
  readonly modelRoutes?: readonly ModelRoute[];
  /** Whether programs may ask for rules. */
  readonly takesProposals?: boolean;
  /** PEM certificates that origins are verified by where their TLS is opened; without them, those Node brings. */
  readonly roots?: readonly string[];
  /** The operator's proxy, which everything but its exceptions goes through; `credentials` are `user:password`. */
  readonly upstreamProxy?: UpstreamProxy & { readonly credentials: string | undefined };
  /** Undefined where there are none, and no placeholders. */
  readonly credentials?: CredentialStore | undefined;
  /** The rest has one right answer in a sandbox; tests give others. */
  readonly resolve?: Resolver;
  readonly check?: typeof checkDestination;
  readonly originalDestination?: OriginalDestination;
  readonly limits?: Partial<EgressLimits>;
}

/** How much there is of each just now. */
export type EgressFigures = EntranceFigures & LiveFigures & LookupFigures;

export interface Egress {
  /** PEM of the certificate authority by which opened TLS is proved to clients; undefined where none is opened. */
  readonly authority: string | undefined;
  /** The bound addresses, in the order of the listeners. */
  readonly addresses: {
    readonly [Kind in keyof Listeners]: readonly { readonly address: string; readonly port: number }[];
  };
  /** Puts another policy in force at once; connections that it does not allow are closed, and counted. */
  replacePolicy(decider: Decider): number;
  /** Puts other routes to models in force; requests under way go on by theirs. */
  replaceModelRoutes(routes: readonly ModelRoute[]): void;
  figures(): EgressFigures;
  /** Takes no new connections, waits a while for those under way, then closes the rest. */
  close(): Promise<void>;
}

/** Serves the listeners. Resolves once all of them listen. */
export async function startEgress(options: EgressOptions): Promise<Egress> {
  const limits = { ...EGRESS_LIMITS, ...options.limits };
  const check = options.check ?? checkDestination;
  const trust = createTrust(options.roots ?? []);
  const live = createLiveConnections(options.decider, check);
  const { credentials = new CredentialStore({ credentials: [], clientCertificates: new Map() }) } = options;
  const hasCredentials = options.credentials !== undefined;
  const redact = (text: string): string => (hasCredentials ? credentials.redact(text) : text);
  const report = cleanReport(options.report, redact);
  const denials = createDenialBook(report, limits);
  const routes = createModelRouteStore(options.modelRoutes ?? [], limits);
  const house: House = {
    congestion: () => undefined,
    roots: [],
    resolve: createSystemResolver(limits),
    originalDestination: kernelDestination,
    mayInspect: options.decider.inspects || hasCredentials,
    modelRoutes: [],
    takesProposals: false,
    ...options,
    credentials,
    hasCredentials,
    check,
    decider: live.decider,
    live,
    limits,
    quota: createProcessQuota(limits.connectionsPerProcess, limits.underWay),
    trust,
    upstreamProxy: options.upstreamProxy && proxyRoute(options.upstreamProxy, trust, limits),
    report: denials.report,
    local: openLocalServices(() => ({
      ...house,
      routes,
      denials,
      reach: { ...house, clientCertificate: undefined },
    })),
  };
  const counting = setInterval(denials.flush, limits.denialCountMs).unref();
  options.signal.addEventListener('abort', () => clearInterval(counting), { once: true });
  const authority = house.mayInspect ? createCertificateAuthority() : undefined;
  const adapters = await openAdapters({ ...house, authority, carry: (arrival) => carry(arrival, house) });
  return {
    ...adapters,
    authority: authority?.certificatePem,
    replaceModelRoutes: routes.replace,
    replacePolicy(decider) {
      const closed = live.replace(decider);
      house.local.policyChanged();
      return closed;
    },
    figures: () => ({
      ...adapters.figures(),
      ...live.figures(),
      ...(house.resolve.figures?.() ?? NO_LOOKUPS),
    }),
    async close() {
      await adapters.close();
      // What has just been cut still has its end to tell.
      await live.emptied(limits.lastRecordsMs);
      denials.flush();
    },
  };
}

const NO_LOOKUPS: LookupFigures = { lookupsRunning: 0, lookupsWaiting: 0, namesRemembered: 0 };

function proxyRoute(
  { credentials, ...proxy }: NonNullable<EgressOptions['upstreamProxy']>,
  trust: Trust,
  limits: EgressLimits,
): ProxyRoute {
  return createProxyRoute(proxy, { credentials, limits, trust: () => trust.contextFor(undefined) });
}

interface House extends Required<Omit<EgressOptions, 'upstreamProxy'>> {
  readonly limits: EgressLimits;
  readonly credentials: CredentialStore;
  readonly hasCredentials: boolean;
  readonly live: LiveConnections;
  readonly quota: ProcessQuota;
  readonly trust: Trust;
  readonly upstreamProxy: ProxyRoute | undefined;
  readonly local: LocalOpener;
}

/** One connection, or one request of it, from its arrival to its record. Never rejects. */
async function carry(sent: Arrival, house: House): Promise<void> {
  // Placeholders are put back once everybody has judged.
  const arrival = house.hasCredentials ? conceal(sent) : sent;
  const record = startRecord(arrival.intent, house.report);
  try {
    await house.congestion();
    const identity = await house.identify(arrival.intent.flow);
    const decision = decide(house.decider, arrival, identity);
    const { refuse, deny, revoke } = createRefuser(arrival, record, identity, decision, house);
    if (!decision.ok) return deny(decision.verdict);
    const { grant } = decision;
    using place = house.quota.take(grant.identity);
    if (place === undefined) return refuse(TOO_MANY);
    using live = house.live.enter(arrival, grant);
    const witness: Witness = {
      ready: house.congestion,
      asked: (names, verdict) => record.asked(grant, names, verdict),
    };
    const inspected = await inspect(arrival, grant, witness, opensFor(house));
    record.read(inspected.names);
    if (inspected.kind === 'denied') return deny(inspected.verdict, inspected.shape);
    live.admission = inspected.admission;
    if (inspected.violation !== undefined) record.violated(grant, inspected.violation);
    const injected = await inject(sent, inspected, house);
    if (!injected.ok) return refuse(injected.refusal);
    live.credentialFlaw = injected.flaw;
    const reached = await approach(injected.inspected, arrival, grant, { ...house, signal: live.signal });
    live.address = reached.ok ? reached.address : undefined;
    const lost = live.recheck();
    if (lost !== undefined) {
      if (reached.ok) reached.abandon();
      return deny(lost);
    }
    if (!reached.ok) return refuse(reached.refusal);
    record.allowed(grant, reached.address, reached.path, injected.used);
    live.signal.addEventListener('abort', () => revoke(live.lost));
    record.ended(await reached.relay(), grant, live.lost);
  } catch (error) {
    house.report({
      kind: 'internal-error',
      where: 'egress',
      message: error instanceof Error ? error.message : String(error),
    });
    arrival.refuse(500, { error: 'internal' });
  }
}

type Approach =
  | {
      readonly ok: true;
      readonly address: string | undefined;
      readonly path: OriginPath;
      readonly relay: () => Promise<Outcome>;
      readonly abandon: () => void;
    }
  | { readonly ok: false; readonly refusal: Refusal };

/** A tunnel that is opened dials nothing: its requests do. */
async function approach(
  inspected: Exclude<Inspected, { kind: 'denied' }>,
  arrival: Arrival,
  grant: Grant,
  options: Omit<ReachOptions, 'clientCertificate'> & Pick<House, 'local'>,
): Promise<Approach> {
  if (inspected.kind === 'tunnel')
    return { ok: true, address: undefined, path: {}, relay: inspected.open, abandon() {} };
  const local = await options.local.approach(arrival, grant, inspected.content, options.signal);
  if (local !== undefined) return local.ok ? { ...local, address: undefined, path: {}, abandon() {} } : local;
  const clientCertificate = inspected.credentials?.clientCertificate;
  const reached = await reach(arrival, grant, { ...options, clientCertificate });
  if (!reached.ok) return reached;
  const { upstream } = reached;
  return {
    ok: true,
    address: upstream.address,
    path: upstream,
    relay: () => arrival.relay(upstream, grant, inspected.content),
    abandon() {
      // Other requests may share the other kind.
      if (upstream.protocol === 'http/1.1') upstream.socket.destroy();
    },
  };
}

const TOO_MANY = {
  result: 'failed',
  status: 429,
  error: 'too_many_connections',
  detail: 'the process, or the sandbox, has as many connections and requests open as it may have',
} as const satisfies Refusal;

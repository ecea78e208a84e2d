/** THE NETWORK ROLE: hello → start → serve → stop. Its own process, without capabilities; it ends with the wire. */
import { Socket } from 'node:net';
import type { AuditFact } from '../audit/event.ts';
import type { CredentialSet } from '../credential/credential.ts';
import { CredentialStore } from '../credential/store.ts';
import { listenersOf } from '../egress/accept/listeners.ts';
import { type Egress, startEgress } from '../egress/egress.ts';
import type { ModelRoute } from '../egress/local/model-routes.ts';
import { CastellanError } from '../errors.ts';
import { watchBypass } from '../kernel/bypass-watch.ts';
import { posix } from '../kernel/posix.ts';
import { readSystemBundle } from '../kernel/trust-bundles.ts';
import type { Decider } from '../policy/compile.ts';
import { certificatesIn } from '../protocol/pem.ts';
import { type Asker, createAsker } from '../roles/ask.ts';
import { type Channel, openChannel, roleLost } from '../roles/channel.ts';
import {
  FATAL_CODES,
  type NetworkFigures,
  type Placeholders,
  type ToNetworkRole,
  type ToProcessRole,
  WIRE_VERSION,
} from '../roles/message.ts';
import { parseToNetworkRole } from '../roles/parse.ts';
import { FROM_PROCESS_ROLE, keepPhase } from '../roles/phase.ts';
import { type RoleDescriptors, rowLength, takeUpDescriptors } from './descriptor-layout.ts';
import { watchExpiry } from './expiry.ts';
import { createOwnFigures } from './own-figures.ts';
import { readSecretFile } from './secret-files.ts';

export interface NetworkRoleProcess {
  readonly controlDescriptor: number;
  /** Where descriptors come. */
  readonly handoverDescriptor: number;
  readonly signal?: AbortSignal;
}

type Wire = Channel<ToProcessRole, ToNetworkRole>;
type StartMessage = Extract<ToNetworkRole, { readonly type: 'start' }>;

/**
 * Serves until the process role says stop, and gives the exit code.
 * @throws CastellanError `role_lost` when the wire ends in any other way, or why nothing could be served.
 */
export async function runNetworkRole({
  controlDescriptor,
  handoverDescriptor,
  signal,
}: NetworkRoleProcess): Promise<number> {
  posix().setUndumpable();
  const wire: Wire = openChannel(new Socket({ fd: controlDescriptor }), parseToNetworkRole, { signal });
  const asker = createAsker((id, flow) => wire.send({ type: 'identify', id, flow }));
  const serving = new AbortController();
  try {
    await converse({ wire, handover: handoverDescriptor, asker, signal: serving.signal });
    return 0;
  } finally {
    serving.abort();
    asker.end('the process role is gone');
  }
}

interface Means {
  readonly wire: Wire;
  readonly handover: number;
  readonly asker: Asker;
  readonly signal: AbortSignal;
}

/** Handles messages until the wire is gone. Returns after an orderly stop only. */
async function converse(means: Means): Promise<void> {
  const { wire, asker } = means;
  const phases = keepPhase(FROM_PROCESS_ROLE);
  let egress: Egress | undefined;
  using expiry = watchExpiry(
    (decider) => egress?.replacePolicy(decider) ?? 0,
    (fact) => wire.send({ type: 'fact', fact }),
  );
  const ownFigures = createOwnFigures();
  let generation = 0;
  let stopped: Promise<void> | undefined;
  let failure: unknown;
  const receive = async (message: ToNetworkRole): Promise<void> => {
    phases.receive(message.type);
    switch (message.type) {
      case 'start': {
        generation = message.policy.generation;
        const descriptors = takeUp(message, means.handover);
        const set = await readCredentials(descriptors.secrets.credentials);
        const decider = expiry.follow(message.policy.rules);
        egress = await serve({ ...message, ...descriptors }, decider, set && new CredentialStore(set), means);
        // One may have ended while it was starting.
        if (message.policy.rules.some(({ expires }) => expires !== undefined))
          egress.replacePolicy(expiry.follow(message.policy.rules));
        phases.enter('running');
        wire.send({ type: 'ready', authority: egress.authority, placeholders: placeholdersOf(set) });
        break;
      }
      case 'policy':
        if (message.generation <= generation)
          throw roleLost(`policy ${message.generation} came after ${generation}`);
        generation = message.generation;
        wire.send({
          type: 'policy-applied',
          generation,
          closed: egress?.replacePolicy(expiry.follow(message.rules)) ?? 0,
        });
        break;
      case 'answer':
        asker.settle(message.id, message.result);
        break;
      case 'measure':
        if (egress !== undefined)
          wire.send({ type: 'figures', id: message.id, figures: await figuresOf(ownFigures, egress, asker) });
        break;
      case 'stop':
        // Not awaited: what is draining may still have questions.
        stopped = stop(egress, wire);
    }
  };
  wire.send({ type: 'hello', version: WIRE_VERSION, pid: process.pid });
  phases.enter('waiting');
  for await (const message of wire.messages())
    await receive(message).catch((error: unknown) => {
      failure ??= error;
      wire.send(fatal(error));
      wire.close();
    });
  if (failure !== undefined) throw failure;
  if (stopped === undefined) throw await wire.closed;
  await stopped;
}

async function figuresOf(
  ownFigures: ReturnType<typeof createOwnFigures>,
  egress: Egress,
  { waiting }: Asker,
): Promise<NetworkFigures> {
  return { ...(await ownFigures()), ...egress.figures(), identificationsWaiting: waiting };
}

function fatal(error: unknown): ToProcessRole {
  const message = error instanceof Error ? error.message : String(error);
  const code = FATAL_CODES.find((known) => error instanceof CastellanError && error.code === known);
  return { type: 'fatal', message, ...(code && { code }) };
}

/** They were sent before the message, so that they lie in the socket. */
function takeUp(places: RoleDescriptors, handover: number): RoleDescriptors {
  const row = posix().takeDescriptors(handover, rowLength(places));
  posix().close(handover);
  return takeUpDescriptors(places, row);
}

/** The parser of YAML costs a while to load, which runs without credentials need not pay. */
async function readCredentials(descriptor: number | undefined): Promise<CredentialSet | undefined> {
  if (descriptor === undefined) return undefined;
  const { parseCredentials } = await import('../credential/parse.ts');
  return parseCredentials(readSecretFile(descriptor));
}

function placeholdersOf(set: CredentialSet | undefined): Placeholders | undefined {
  return set && Object.fromEntries(set.credentials.map(({ name, placeholder }) => [name, placeholder]));
}

async function serve(
  message: StartMessage,
  decider: Decider,
  credentials: CredentialStore | undefined,
  { wire, asker, signal }: Means,
): Promise<Egress> {
  const report = (fact: AuditFact): void => wire.send({ type: 'fact', fact });
  const { listeners, policy, upstreamProxy, secrets, takesProposals } = message;
  const proxyLogin = proxyCredentials(secrets.upstreamProxyAuth);
  const mayInspect = decider.inspects || policy.mayChange || credentials !== undefined;
  const modelRoutes = await readModelRoutes(secrets.inferenceRoutes);
  const isTrustNeeded = mayInspect || modelRoutes.length > 0 || upstreamProxy?.scheme === 'https';
  if (listeners.nflog !== undefined) watchBypass(listeners.nflog, report, { signal });
  return await startEgress({
    listeners: listenersOf(listeners),
    decider,
    mayInspect,
    ...(upstreamProxy && { upstreamProxy: { ...upstreamProxy, credentials: proxyLogin } }),
    modelRoutes,
    takesProposals,
    roots: isTrustNeeded ? certificatesIn(await readSystemBundle()) : [],
    credentials,
    identify: asker.identify,
    report,
    signal,
    congestion: wire.congestion,
  });
}

/** @throws CastellanError `usage` where the file holds something else than one line `user:password` */
function proxyCredentials(descriptor: number | undefined): string | undefined {
  if (descriptor === undefined) return undefined;
  const line = readSecretFile(descriptor).replace(/\r?\n$/, '');
  if (/^[^:\p{Cc}]+:\P{Cc}*$/u.test(line)) return line;
  throw new CastellanError(
    'usage',
    'the file of --upstream-proxy-auth-file has to hold one line, user:password',
    {
      step: 'network-role',
    },
  );
}

/** @throws CastellanError `usage` for a mistake, whose place it names and no value */
async function readModelRoutes(descriptor: number | undefined): Promise<readonly ModelRoute[]> {
  if (descriptor === undefined) return [];
  const { parseModelRoutes } = await import('../egress/local/model-routes.ts');
  return parseModelRoutes(readSecretFile(descriptor), 'inference routes');
}

async function stop(egress: Egress | undefined, wire: Wire): Promise<void> {
  await egress?.close();
  wire.send({ type: 'stopped' });
  wire.close();
}

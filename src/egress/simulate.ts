/** What would become of a connection, or of one request in it: the stages of a real one up to the dial, without any network. */
import type { Decider } from '../policy/compile.ts';
import { opensTls } from '../policy/credential-use.ts';
import type { DenyReason, DenyVerdict } from '../policy/verdict.ts';
import { decide } from './decide/decide.ts';
import type { Witness } from './inspect/conversation.ts';
import { inspect } from './inspect/inspect.ts';
import type { Arrival, Flow, Identity } from './stages.ts';

export interface Question {
  /** The program, then its ancestors, nearest first. */
  readonly binaries: readonly [string, ...string[]];
  /** SHA-256 of each of them, in hexadecimal, where it is known: what has none meets no pin. */
  readonly hashes?: readonly (string | undefined)[];
  readonly host: string;
  readonly port: number;
  /** Undefined asks about the connection alone. */
  readonly request?: {
    readonly method: string;
    /** Path and query. */
    readonly target: string;
    /** Names in lower case. */
    readonly headers: Readonly<Record<string, string>>;
    readonly body: Uint8Array;
  };
}

export interface Answer {
  /** `audit`: passes, and is recorded as a violation. */
  readonly verdict: 'allow' | 'audit' | 'deny';
  /** Whose word it is; `request` where requests are inspected. */
  readonly level: 'connection' | 'request';
  /** The rule that allows, or that came nearest. */
  readonly rule: string | undefined;
  readonly reason: DenyReason | undefined;
  readonly detail: string;
}

const NO_FLOW: Flow = {
  family: 4,
  localAddress: '127.0.0.1',
  localPort: 0,
  remoteAddress: '127.0.0.1',
  remotePort: 0,
};

/** Over a WebSocket nothing is said. */
const NOBODY: Witness = { ready: () => undefined, asked() {} };

/** Asks the decision of the policy and the inspectors of requests. */
export async function simulate(decider: Decider, question: Question): Promise<Answer> {
  const { host, port, request } = question;
  const identity = identityOf(question);
  const arrival = arrivalOf(question);
  const decision = decide(decider, arrival, { ok: true, identity });
  if (!decision.ok) return denied('connection', decision.verdict);
  const { rule, requests, matchedBinary, credentials } = decision.grant.verdict;
  if (requests === undefined || request === undefined) {
    const opened = opensTls({ credentials }) ? '; its TLS is opened for credentials' : '';
    const inside = requests === undefined ? opened : '; its requests are inspected';
    return allowed('connection', rule, `rule "${rule}" allows ${host}:${port} for ${matchedBinary}${inside}`);
  }
  const inspected = await inspect(arrival, decision.grant, NOBODY);
  if (inspected.kind === 'denied') return denied('request', inspected.verdict);
  if (inspected.kind === 'tunnel') throw new TypeError('a request is no tunnel');
  if (inspected.violation !== undefined)
    return { ...denied('request', inspected.violation), verdict: 'audit' };
  return allowed('request', inspected.rule, `rule "${inspected.rule}" allows the request`);
}

function identityOf({ binaries, hashes = [] }: Question): Identity {
  const [executable, ...ancestors] = binaries;
  const [sha256 = 'unknown', ...ancestorHashes] = binaries.map((_, index) => hashes[index] ?? 'unknown');
  return { pid: 0, startTime: '0', uid: 0, executable, sha256, ancestors, ancestorHashes };
}

function allowed(level: Answer['level'], rule: string, detail: string): Answer {
  return { verdict: 'allow', level, rule, reason: undefined, detail };
}

function denied(level: Answer['level'], { reason, detail, nearest }: DenyVerdict): Answer {
  return { verdict: 'deny', level, rule: nearest, reason, detail };
}

function arrivalOf({ host, port, request }: Question): Arrival {
  const nothing = async () => ({ result: 'closed', bytesOut: 0, bytesIn: 0 }) as const;
  return {
    intent: { connectionId: '0', adapter: 'connect', host, port, flow: NO_FLOW, startedAt: 0 },
    objection: undefined,
    signal: new AbortController().signal,
    refuse() {},
    revoke() {},
    relay: nothing,
    open: nothing,
    ...(request && {
      request: {
        method: request.method,
        target: request.target,
        headers: request.headers,
        fields: Object.entries(request.headers).flat(),
        isWebSocket: /^websocket$/i.test(request.headers['upgrade'] ?? ''),
        body: async (maxBytes: number) =>
          request.body.length > maxBytes ? undefined : Buffer.from(request.body),
      },
    }),
  };
}

/** The rule that would have allowed what was refused: a start for whoever decides. No name is looked up to make one. */
import { classifyAddress } from './destination.ts';
import type { NetworkRule, RequestPattern } from './document.ts';
import { localPort } from './local-names.ts';
import { canonicalHost } from './match/host.ts';
import { ruleHelps } from './reason.ts';
import { renderRules } from './render.ts';

export interface DenialSummary {
  readonly host: string;
  readonly port: number;
  readonly binary: string;
  readonly reason: string;
  readonly count: number;
  /** `METHOD /path`, generalised; empty where connections were refused unread. */
  readonly requests: readonly string[];
}

export interface Suggestion {
  readonly yaml: string;
  /** How likely it is that the rule is wanted, from 0.1 to 0.95. */
  readonly confidence: number;
}

const METADATA_NAMES: readonly string[] = ['metadata', 'metadata.google.internal', 'instance-data'];
const WELL_KNOWN_PORTS: readonly number[] = [22, 80, 443, 8080, 8443, 5432, 3306, 6379];
const NOWHERE = { line: 1, column: 1 };

/** Undefined where no rule would help, or none should. Pure. */
export function suggestRule(denial: DenialSummary): Suggestion | undefined {
  const { binary, port, reason, requests } = denial;
  const host = canonicalHost(denial.host);
  if (host === undefined || !binary.startsWith('/') || /[*?[\]{}\\]/.test(binary)) return undefined;
  // Not where it was refused for what the program did.
  if (!ruleHelps(reason) || isNeverReached(host)) return undefined;
  const allow = requests.flatMap(patternOf);
  const inspection = allow.length > 0 ? { ...REST, allow } : undefined;
  const rule: NetworkRule = {
    name: `allow_${host}_${port}`.replaceAll(/[^A-Za-z0-9_.-]/g, '_').slice(0, 64),
    endpoints: [
      {
        host,
        ports: [port],
        protocol: inspection ? 'rest' : '',
        allowedIps: [],
        inspection,
        position: NOWHERE,
      },
    ],
    binaries: [{ path: binary }],
    position: NOWHERE,
  };
  return { yaml: renderRules([rule]), confidence: confidenceIn(denial) };
}

const REST = {
  path: undefined,
  enforcement: 'enforce',
  deny: [],
  allowEncodedSlash: false,
  maxBodyBytes: 0,
  persistedQueries: {},
  strictToolNames: true,
  allowKnownMethods: false,
} as const;

function patternOf(request: string): RequestPattern[] {
  const parts = /^(?<method>[A-Z]{1,32}) (?<path>(?:\/(?:[A-Za-z0-9._~%@:+,;=-]*|\*))+)$/.exec(
    request,
  )?.groups;
  if (parts === undefined || parts['method'] === 'CONNECT') return [];
  return [{ kind: 'http', method: parts['method'], path: parts['path'], query: [], position: NOWHERE }];
}

function isNeverReached(host: string): boolean {
  if (localPort(host) !== undefined || METADATA_NAMES.includes(host)) return true;
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const { reach, name } = classifyAddress(host);
  return reach === 'blocked' && name !== 'not an address';
}

function confidenceIn({ count, port, host }: DenialSummary): number {
  const often = count >= 10 ? 0.2 : count >= 3 ? 0.1 : 0;
  const known = WELL_KNOWN_PORTS.includes(port) ? 0.15 : 0;
  const inside = classifyAddress(host).reach === 'private' ? 0.2 : 0;
  return Math.round(Math.min(0.95, Math.max(0.1, 0.5 + often + known - inside)) * 100) / 100;
}

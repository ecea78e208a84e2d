/** The decision as the policy language's description reads, one rule after the other: slow, and short enough to believe. */
import type { Endpoint, NetworkRule } from '../../../src/policy/document.ts';
import type { Query } from '../../../src/policy/verdict.ts';

export interface NaiveVerdict {
  readonly allow: boolean;
  readonly reason?: string;
  readonly rule?: string | undefined;
  readonly matchedBinary?: string | undefined;
  readonly allowedIps?: readonly string[];
  readonly exactHost?: boolean;
}

export function decideNaively(rules: readonly NetworkRule[], query: Query): NaiveVerdict {
  if (rules.length === 0) return { allow: false, reason: 'no_policy' };
  const pairs = [...rules]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((rule) =>
      rule.endpoints.map((endpoint) => ({ rule, endpoint, closeness: closeness(endpoint, query.host) })),
    )
    .filter(({ closeness }) => closeness > 0)
    .sort((a, b) => b.closeness - a.closeness);
  const onPort = pairs.filter(({ endpoint }) => endpoint.ports.includes(query.port));
  for (const { rule, endpoint, closeness } of onPort) {
    const matchedBinary = query.binaries.find((binary, index) =>
      rule.binaries.some(
        ({ path, sha256 }) =>
          pathMatches(path, binary) && (sha256 === undefined || sha256.includes(query.hashes?.[index] ?? '')),
      ),
    );
    if (matchedBinary === undefined) continue;
    return {
      allow: true,
      rule: rule.name,
      matchedBinary,
      allowedIps: endpoint.allowedIps,
      exactHost: closeness === 3,
    };
  }
  const pinned = onPort.find((pair) =>
    pair.rule.binaries.some(({ path }) => query.binaries.some((binary) => pathMatches(path, binary))),
  );
  if (pinned !== undefined) return { allow: false, reason: 'binary_hash_differs', rule: pinned.rule.name };
  const rule = onPort[0]?.rule.name;
  if (rule !== undefined)
    return {
      allow: false,
      reason: query.binaries.length === 0 ? 'identity_unknown' : 'binary_not_listed',
      rule,
    };
  const named = pairs.filter(({ closeness }) => closeness > 1);
  if (named.length > 0) return { allow: false, reason: 'port_not_listed', rule: named[0]?.rule.name };
  return { allow: false, reason: 'host_not_listed', rule: undefined };
}

/** 3 for the very host, 2 for a wildcard, 1 for no host at all, 0 where the endpoint does not match. */
function closeness({ host }: Endpoint, wanted: string): number {
  if (host === '') return 1;
  if (host === wanted) return 3;
  const isName = !/^[\d.]+$/.test(wanted) && !wanted.includes(':');
  return isName && host.includes('*') && hostPattern(host).test(wanted) ? 2 : 0;
}

function hostPattern(host: string): RegExp {
  const labels = host.split('.').map((label) => {
    if (label === '**') return '.+';
    return label === '*' ? '[^.]+' : label.replaceAll('*', '[^.]*');
  });
  return new RegExp(`^${labels.join('\\.')}$`);
}

function pathMatches(pattern: string, path: string): boolean {
  if (!pattern.includes('*')) return pattern === path;
  const source = pattern.split('**').map((part) => part.replaceAll('*', '[^/]*'));
  return new RegExp(`^${source.join('.*')}$`).test(path);
}

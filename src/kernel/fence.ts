/** Puts the fence into this process's own network namespace, whole or not at all, and reads it back. */
import { CastellanError, type ErrorCode } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import {
  FENCE_TABLE,
  type FencePlan,
  fenceRuleset,
  fenceTransaction,
  statementsOf,
} from './fence-ruleset.ts';
import { runNft } from './nft.ts';
import { DNS_PORT, NFLOG_GROUP, PROXY_PORT, TRANSPARENT_PORT } from './sealed-namespace.ts';

export interface FenceOptions {
  /** Absolute path of nft(8). */
  readonly nft: string;
  readonly proxyUid: number;
  readonly inboundPorts: readonly number[];
}

/** What comes in from outside at a port is refused to the agent, which without these has no way out. */
const OWN_PORTS: readonly number[] = [53, PROXY_PORT, TRANSPARENT_PORT, DNS_PORT];

export interface InstalledFence {
  readonly ruleset: string;
  /** Why refused packets are not logged, where the kernel cannot. */
  readonly unlogged: string | undefined;
}

/**
 * Installs the fence, in place of an older one. A failure leaves what was there.
 * @throws CastellanError `address_in_use`, `privilege_missing`, `kernel_feature_missing`, `namespace_failed`
 */
export async function installFence({ nft, proxyUid, inboundPorts }: FenceOptions): Promise<InstalledFence> {
  const own = inboundPorts.find((port) => OWN_PORTS.includes(port));
  if (own !== undefined)
    throw new CastellanError('address_in_use', `port ${own} is how the agent reaches castellan`, {
      step: 'fence',
      object: String(own),
      remedy: 'use another port for health or metrics',
    });
  const plan = {
    proxyUid,
    inboundPorts,
    proxyPort: PROXY_PORT,
    transparentPort: TRANSPARENT_PORT,
    dnsPort: DNS_PORT,
  };
  const logging = await tryInstall(nft, { ...plan, nflogGroup: NFLOG_GROUP });
  if (logging.error === undefined) return { ruleset: logging.ruleset, unlogged: undefined };
  if (logging.error.code !== 'kernel_feature_missing') throw logging.error;
  // A node without the module for logs must not be one without a fence.
  const silent = await tryInstall(nft, { ...plan, nflogGroup: undefined });
  if (silent.error !== undefined) throw silent.error;
  return { ruleset: silent.ruleset, unlogged: `${logging.error.object}: ${logging.error.errno}` };
}

async function tryInstall(
  nft: string,
  plan: FencePlan,
): Promise<{ readonly ruleset: string; readonly error: CastellanError | undefined }> {
  const ruleset = fenceRuleset(plan);
  const transaction = fenceTransaction(ruleset);
  const { exitCode, complaint } = await runNft(nft, ['-f', '-'], transaction);
  return { ruleset, error: exitCode === 0 ? undefined : refusedTransaction(complaint, transaction) };
}

/** How nft tells the kernel's errno, and what each means for a table of ours. */
const REFUSALS: readonly (readonly [string, string, ErrorCode])[] = [
  ['Operation not permitted', 'EPERM', 'privilege_missing'],
  ['No such file or directory', 'ENOENT', 'kernel_feature_missing'],
  ['Operation not supported', 'EOPNOTSUPP', 'kernel_feature_missing'],
  ['Protocol not supported', 'EPROTONOSUPPORT', 'kernel_feature_missing'],
  ['Address family not supported', 'EAFNOSUPPORT', 'kernel_feature_missing'],
];

const REMEDIES: Partial<Record<ErrorCode, string>> = {
  privilege_missing: 'give the container the capability NET_ADMIN and uid 0',
  kernel_feature_missing:
    'load nf_tables, nft_chain_nat, nft_ct, nft_redir, nft_limit and nft_reject_inet on the node',
};

/** nft names the line: `/dev/stdin:12:5-20: Error: Could not process rule: …`. */
function refusedTransaction(complaint: string, transaction: string): CastellanError {
  const line = Number(/^[^\s:]+:(\d+):/m.exec(complaint)?.[1]);
  const object = transaction.split('\n')[line - 1]?.trim() || `table inet ${FENCE_TABLE}`;
  const [, errno, code = 'namespace_failed'] = REFUSALS.find(([words]) => complaint.includes(words)) ?? [];
  const said = errno ?? escapeText(complaint.split('\n')[0] ?? '');
  const remedy = REMEDIES[code];
  return new CastellanError(code, `the fence could not be installed: "${object}" (${said})`, {
    step: 'fence/ruleset',
    object,
    ...(errno && { errno }),
    ...(remedy && { remedy }),
  });
}

/** Priorities and protocols by number. */
const AS_WRITTEN = ['-y', '-p'];

/**
 * Compares what the kernel holds with what was meant. Text, not JSON: the ruleset is one text, and a difference can be shown.
 * @throws CastellanError `namespace_failed`, naming the first line that differs
 */
export async function verifyFence(nft: string, ruleset: string): Promise<void> {
  const { exitCode, output, complaint } = await runNft(nft, [
    ...AS_WRITTEN,
    'list',
    'table',
    'inet',
    FENCE_TABLE,
  ]);
  if (exitCode !== 0) throw differs('it cannot be listed', escapeText(complaint.split('\n')[0] ?? ''));
  const [meant, found] = [statementsOf(ruleset), statementsOf(output)];
  const length = Math.max(meant.length, found.length);
  for (let line = 0; line < length; line++)
    if (meant[line] !== found[line])
      throw differs(meant[line] ?? 'nothing more', escapeText(found[line] ?? 'nothing more'));
}

function differs(meant: string, found: string): CastellanError {
  return new CastellanError('namespace_failed', `the fence is not what was meant: "${meant}" is "${found}"`, {
    step: 'fence/read-back',
    object: meant,
    remedy: 'see whether something else changes the table: nft list table inet castellan',
  });
}

import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import {
  type Account,
  type Group,
  parseAccounts,
  parseGroups,
  parseId,
  readAccountFile,
} from '../kernel/accounts.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { ProcessPolicy } from '../policy/document.ts';

/** The account an unnamed sandbox runs as. */
export const DEFAULT_USER = 'sandbox';
/** Below are system accounts; above, ids that container tools keep for themselves. */
export const MIN_SANDBOX_ID = 1000;
export const MAX_SANDBOX_ID = 2_000_000_000;
/** Home where no account names one. */
const DEFAULT_HOME = '/sandbox';
const DEFAULT_SHELL = '/bin/sh';

export interface AccountFiles {
  readonly accounts: readonly Account[];
  readonly groups: readonly Group[];
}

export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/**
 * The identity of a run, reported.
 * @throws CastellanError `identity_invalid`
 */
export async function resolveRunIdentity(
  config: RunConfig,
  { uid, gid, groups }: Surroundings,
  policy: ProcessPolicy,
  report: Report,
): Promise<SandboxIdentity> {
  const files = await readAccounts();
  const identity =
    config.mode === 'root'
      ? resolveIdentity(policy, files)
      : callerIdentity({ uid, gid, groups }, policy, files);
  if (config.mode === 'root' && identity.uid === config.networkRoleUid)
    throw refused(
      `uid ${identity.uid} is the network role’s: the agent could reach into it`,
      String(identity.uid),
      'choose another --proxy-uid',
    );
  report({
    kind: 'identity-resolved',
    user: identity.user,
    uid: identity.uid,
    gid: identity.gid,
    source: identity.source,
  });
  return identity;
}

/** Reads the machine's accounts once. @throws CastellanError `identity_invalid` */
export async function readAccounts(): Promise<AccountFiles> {
  const [passwd, group] = await Promise.all([readAccountFile('/etc/passwd'), readAccountFile('/etc/group')]);
  return { accounts: parseAccounts(passwd), groups: parseGroups(group) };
}

/**
 * Whom the sandbox runs as when castellan is root. Names need an account; numbers do not.
 * @throws CastellanError `identity_invalid` for an unknown name, root, or a number out of range.
 */
export function resolveIdentity(policy: ProcessPolicy, files: AccountFiles): SandboxIdentity {
  const userSpec = policy.runAsUser ?? DEFAULT_USER;
  const account = findAccount(userSpec, files);
  const uid = account?.uid ?? requireId('run_as_user', userSpec);
  const gid =
    policy.runAsGroup === undefined ? (account?.gid ?? uid) : resolveGroup(policy.runAsGroup, files);
  if (uid === 0 || gid === 0)
    throw refused(
      `the sandbox must not run as root (${uid}:${gid})`,
      `${userSpec}:${policy.runAsGroup ?? gid}`,
    );
  return {
    uid,
    gid,
    groups: account === undefined ? [] : supplementaryGroups(account, gid, files),
    ...accountFacts(uid, account),
    source: policy.runAsUser === undefined ? 'default' : 'policy',
  };
}

/** Rootless runs keep the caller's ids; the user namespace maps nothing else. */
export function callerIdentity(caller: Caller, policy: ProcessPolicy, files: AccountFiles): SandboxIdentity {
  const account = files.accounts.find(({ uid }) => uid === caller.uid);
  const asked = policy.runAsUser;
  const same = asked === undefined || asked === account?.name || asked === String(caller.uid);
  return {
    ...caller,
    ...accountFacts(caller.uid, account),
    source: same ? 'caller' : `caller (the policy asks for ${asked}, which takes root)`,
  };
}

function accountFacts(uid: number, account: Account | undefined) {
  return {
    user: account?.name ?? String(uid),
    home: account?.home.startsWith('/') ? account.home : DEFAULT_HOME,
    shell: loginShell(account),
  };
}

/** nologin and false are for keeping people out; whoever reached the sandbox's socket is meant to be in. */
function loginShell(account: Account | undefined): string {
  const shell = account?.shell ?? '';
  return shell.startsWith('/') && !/\/(nologin|false)$/.test(shell) ? shell : DEFAULT_SHELL;
}

function findAccount(spec: string, { accounts }: AccountFiles): Account | undefined {
  const id = parseId(spec);
  if (id !== undefined) return accounts.find(({ uid }) => uid === id);
  const account = accounts.find(({ name }) => name === spec);
  if (account === undefined)
    throw refused(
      `user ${spec} is not in /etc/passwd`,
      spec,
      `create the user, or set process.run_as_user to a number from ${MIN_SANDBOX_ID}`,
    );
  return account;
}

function resolveGroup(spec: string, { groups }: AccountFiles): number {
  if (parseId(spec) !== undefined) return requireId('run_as_group', spec);
  const group = groups.find(({ name }) => name === spec);
  if (group === undefined)
    throw refused(
      `group ${spec} is not in /etc/group`,
      spec,
      `create the group, or set process.run_as_group to a number from ${MIN_SANDBOX_ID}`,
    );
  return group.gid;
}

function requireId(key: string, spec: string): number {
  const id = parseId(spec);
  if (id === undefined || id < MIN_SANDBOX_ID || id > MAX_SANDBOX_ID)
    throw refused(`${key} ${spec} is outside ${MIN_SANDBOX_ID}…${MAX_SANDBOX_ID}`, spec);
  return id;
}

function supplementaryGroups(account: Account, primary: number, { groups }: AccountFiles): number[] {
  const ids = groups.filter(({ members }) => members.includes(account.name)).map(({ gid }) => gid);
  return [...new Set(ids)].filter((gid) => gid !== 0 && gid !== primary);
}

function refused(message: string, object: string, remedy?: string): CastellanError {
  return new CastellanError('identity_invalid', message, {
    step: 'identity',
    object,
    ...(remedy && { remedy }),
  });
}

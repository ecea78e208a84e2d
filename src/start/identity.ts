import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { DriverIdentity } from '../config/driver-identity.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { type Account, type Group, parseAccounts, parseGroups, readAccountFile } from '../kernel/accounts.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import { MAX_ID, parseId } from '../lib/id.ts';
import type { ProcessPolicy } from '../policy/document.ts';
import { MIN_POLICY_ID } from '../policy/process.ts';
import { isLoginShell } from '../session/login-shell.ts';
import { NO_HOME } from './home.ts';

/** The account an unnamed sandbox runs as. In a policy it means the platform's choice where there is one. */
export const DEFAULT_USER = 'sandbox';
const DEFAULT_SHELL = '/bin/sh';

export interface AccountFiles {
  /** The texts as they stand, for a private view of them. */
  readonly passwd: string;
  readonly group: string;
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
  files: AccountFiles,
  report: Report,
): Promise<SandboxIdentity> {
  const identity =
    config.mode === 'root'
      ? resolveIdentity(policy, config.driverIdentity, files)
      : callerIdentity({ uid, gid, groups }, policy, config.driverIdentity, files);
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
  return { passwd, group, accounts: parseAccounts(passwd), groups: parseGroups(group) };
}

/**
 * Whom the sandbox runs as when castellan is root: the policy's words before the platform's, field by field, and both
 * before the account `sandbox`. Names need an account; numbers do not.
 * @throws CastellanError `identity_invalid` for an unknown or ambiguous name, root, or a number out of range.
 */
export function resolveIdentity(
  policy: ProcessPolicy,
  driver: DriverIdentity | undefined,
  files: AccountFiles,
): SandboxIdentity {
  const offered = driver === undefined ? undefined : driverChoice(driver, policy, files);
  // Policies written for a platform say `sandbox` and mean whom the platform made for it.
  const own = (spec: string | undefined) => (offered && spec === DEFAULT_USER ? undefined : spec);
  const userSpec = own(policy.runAsUser) ?? offered?.user ?? DEFAULT_USER;
  const groupSpec = own(policy.runAsGroup) ?? offered?.group;
  const account = findAccount(userSpec, files);
  const uid = account?.uid ?? requireId('run_as_user', userSpec);
  const gid = groupSpec === undefined ? (account?.gid ?? uid) : resolveGroup(groupSpec, files);
  if (uid === 0 || gid === 0)
    throw refused(`the sandbox must not run as root (${uid}:${gid})`, `${userSpec}:${groupSpec ?? gid}`);
  const fromPolicy = own(policy.runAsUser) !== undefined;
  return {
    uid,
    gid,
    // Numbers of a platform say all that it wants; whoever has that number in the image is a coincidence.
    groups:
      account === undefined || (!fromPolicy && driver?.kind === 'ids')
        ? []
        : supplementaryGroups(account, gid, files),
    ...accountFacts(uid, account),
    source: fromPolicy
      ? 'policy'
      : (offered?.source ?? (policy.runAsUser === undefined ? 'default' : 'policy')),
  };
}

/** Runs without root keep the caller's ids: nothing else can be had. @throws CastellanError `identity_invalid` */
export function callerIdentity(
  caller: Caller,
  policy: ProcessPolicy,
  driver: DriverIdentity | undefined,
  files: AccountFiles,
): SandboxIdentity {
  if (driver?.kind === 'ids' && (driver.uid !== caller.uid || driver.gid !== caller.gid))
    throw refused(
      `the platform wants ${driver.uid}:${driver.gid}, but castellan was started as ${caller.uid}:${caller.gid} and is not root`,
      String(driver.uid),
      'start castellan as that user and group, or as root',
    );
  const account = files.accounts.find(({ uid }) => uid === caller.uid);
  const asked = policy.runAsUser === DEFAULT_USER && driver?.kind === 'ids' ? undefined : policy.runAsUser;
  const same = asked === undefined || asked === account?.name || asked === String(caller.uid);
  return {
    ...caller,
    ...accountFacts(caller.uid, account),
    source: same
      ? driver?.kind === 'ids'
        ? 'driver'
        : 'caller'
      : `caller (the policy asks for ${asked}, which takes root)`,
  };
}

interface DriverChoice {
  readonly user: string;
  readonly group: string | undefined;
  readonly source: string;
}

/** Undefined where the image declares nobody, which is an error only if the policy leaves something open. */
function driverChoice(
  driver: DriverIdentity,
  policy: ProcessPolicy,
  files: AccountFiles,
): DriverChoice | undefined {
  if (driver.kind === 'ids') return { user: String(driver.uid), group: String(driver.gid), source: 'driver' };
  if (driver.text !== '') return imageUserChoice(driver.text, files);
  if (policy.runAsUser !== undefined && policy.runAsGroup !== undefined) return undefined;
  throw refused(
    'the image declares no USER, and the policy does not name both user and group',
    'USER',
    'set process.run_as_user and run_as_group, or USER in the image',
  );
}

/** `name`, `uid`, `name:group` or `uid:gid`, as in the configuration of an OCI image. */
function imageUserChoice(text: string, files: AccountFiles): DriverChoice {
  const [user = '', group, ...more] = text.split(':');
  if (user === '' || group === '' || more.length > 0)
    throw refused('the image’s USER is not NAME, UID, NAME:GROUP or UID:GID', text);
  const account = findAccount(user, files);
  if (account === undefined && group === undefined)
    throw refused(`the image’s USER ${user} has no group, and /etc/passwd has none for it`, text);
  if (
    account !== undefined &&
    files.groups.some(({ gid, members }) => gid === 0 && members.includes(account.name))
  )
    throw refused(`the image’s USER ${user} is a member of root’s group`, text);
  return { user, group, source: 'image USER' };
}

function accountFacts(uid: number, account: Account | undefined) {
  const shell = account?.shell ?? '';
  return {
    user: account?.name ?? String(uid),
    home: account?.home ?? NO_HOME,
    shell: isLoginShell(shell) ? shell : DEFAULT_SHELL,
  };
}

function findAccount(spec: string, { accounts }: AccountFiles): Account | undefined {
  const id = parseId(spec);
  if (id !== undefined) return accounts.find(({ uid }) => uid === id);
  const [account, ...others] = accounts.filter(({ name }) => name === spec);
  if (account === undefined)
    throw refused(
      `user ${spec} is not in /etc/passwd`,
      spec,
      `create the user, or set process.run_as_user to a number from ${MIN_POLICY_ID}`,
    );
  if (others.some(({ uid, gid }) => uid !== account.uid || gid !== account.gid))
    throw refused(`user ${spec} is in /etc/passwd more than once`, spec);
  return account;
}

function resolveGroup(spec: string, { groups }: AccountFiles): number {
  if (parseId(spec) !== undefined) return requireId('run_as_group', spec);
  const [group, ...others] = groups.filter(({ name }) => name === spec);
  if (group === undefined)
    throw refused(
      `group ${spec} is not in /etc/group`,
      spec,
      `create the group, or set process.run_as_group to a number from ${MIN_POLICY_ID}`,
    );
  if (others.some(({ gid }) => gid !== group.gid))
    throw refused(`group ${spec} is in /etc/group more than once`, spec);
  return group.gid;
}

function requireId(key: string, spec: string): number {
  const id = parseId(spec);
  if (id === undefined || id < MIN_POLICY_ID)
    throw refused(`${key} ${spec} is outside ${MIN_POLICY_ID} to ${MAX_ID}`, spec);
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

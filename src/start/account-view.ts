/**
 * Accounts as the agent sees them. Programs ask who they are (whoami, git, ssh, Python's pwd), and a uid that a platform
 * invented has no answer in the image's /etc/passwd. The agent then gets a private copy with one line more; the image's own
 * files stay as they are.
 */
import { constants } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import { errnoOf } from '../errors.ts';
import { AT_FDCWD, O_PATH, RESOLVE_NO_SYMLINKS } from '../kernel/openat2.ts';
import { posix } from '../kernel/posix.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { MountStep } from '../launch/spec.ts';
import { NO_HOME } from './home.ts';
import type { AccountFiles } from './identity.ts';

/** The lines that an identity lacks; undefined where the file knows it. */
export interface MissingAccounts {
  readonly passwd: string | undefined;
  readonly group: string | undefined;
}

export interface AccountView extends Disposable {
  readonly mounts: readonly MountStep[];
}

export interface AccountViewRequest {
  readonly config: RunConfig;
  readonly identity: SandboxIdentity;
  readonly files: AccountFiles;
  /** Where private copies go: the run directory, which the agent cannot reach. */
  readonly directory: string;
  /** False looks only. */
  readonly create: boolean;
  readonly report: Report;
}

const PASSWD = '/etc/passwd';
const GROUP = '/etc/group';

/** Pure. The number serves as the name where no account has it, as everywhere in castellan. */
export function missingAccounts(identity: SandboxIdentity, files: AccountFiles): MissingAccounts {
  const { uid, gid, shell } = identity;
  // A working directory may be named in ways that would end the field, or the line.
  const home = /[:\p{Cc}]/u.test(identity.home) ? NO_HOME : identity.home;
  return {
    passwd: files.accounts.some((account) => account.uid === uid)
      ? undefined
      : `${identity.user}:x:${uid}:${gid}:sandbox:${home}:${shell}\n`,
    group: files.groups.some((group) => group.gid === gid) ? undefined : `${gid}:x:${gid}:\n`,
  };
}

/** The text with the line, whether or not its last line was ended. Pure. */
export function withLine(text: string, line: string): string {
  return text === '' || text.endsWith('\n') ? text + line : `${text}\n${line}`;
}

/**
 * Prepares the view. What cannot be shown is reported and no error: programs that ask get no name then.
 */
export async function viewAccounts({
  config,
  identity,
  files,
  directory,
  create,
  report,
}: AccountViewRequest): Promise<AccountView> {
  const missing = missingAccounts(identity, files);
  using held = new DisposableStack();
  const mounts: MountStep[] = [];
  for (const [path, line, text] of [
    [PASSWD, missing.passwd, files.passwd],
    [GROUP, missing.group, files.group],
  ] as const) {
    if (line === undefined) continue;
    const step =
      config.mode === 'process-only'
        ? await append(path, line, text, create)
        : await coverWithCopy(path, withLine(text, line), directory, held);
    if (typeof step === 'string')
      report({
        kind: 'control-degraded',
        control: 'account-view',
        reason: `${path} has no entry for ${identity.uid}:${identity.gid} and cannot be given one: ${step}`,
        remedy: `add a line to ${path} of the image, or make it writable for its group`,
      });
    else {
      mounts.push(...step);
      report({ kind: 'control-applied', control: 'account-view', detail: `${path} with ${line.trimEnd()}` });
    }
  }
  const kept = held.move();
  return { mounts, [Symbol.dispose]: () => kept.dispose() };
}

async function coverWithCopy(
  path: string,
  text: string,
  directory: string,
  held: DisposableStack,
): Promise<MountStep[] | string> {
  const copy = join(directory, path.slice('/etc/'.length));
  try {
    posix().close(posix().openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_SYMLINKS));
  } catch (error) {
    return `nothing can be mounted there (${errnoOf(error)})`;
  }
  await writeFile(copy, text, { mode: 0o444, flag: 'wx' });
  const descriptor = posix().openat2(AT_FDCWD, copy, O_PATH, 0, RESOLVE_NO_SYMLINKS);
  held.defer(() => posix().close(descriptor));
  return [{ kind: 'bind', descriptor, path }];
}

/**
 * Without root nothing can be mounted. Images for arbitrary uids leave the file writable for their group, so that whoever
 * starts in them adds a line: in one write, after the text that was read, or not at all.
 */
async function append(
  path: string,
  line: string,
  text: string,
  create: boolean,
): Promise<MountStep[] | string> {
  try {
    await using file = await open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
    const { size } = await file.stat();
    if (size !== Buffer.byteLength(text)) return 'somebody else is writing it';
    if (create) await file.write(withLine(text, line).slice(text.length));
    return [];
  } catch (error) {
    return errnoOf(error) ?? 'unknown';
  }
}

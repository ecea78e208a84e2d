import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { MAX_POLICY_BYTES, parsePolicy } from '../policy/parse.ts';
import type { PolicyFiles } from '../policy/tls-authority.ts';
import type { GrantedPath } from './filesystem.ts';
import { covers } from './path-plan.ts';

/** Where no policy is named or installed: the file-system defaults of the language, and no network. */
export const BUILT_IN_POLICY = 'version: 1\n';
export const BUILT_IN_POLICY_NAME = '(built-in policy)';

/**
 * Reads and validates the policy.
 * @throws CastellanError `policy_unreadable`, `policy_invalid`
 */
export async function loadPolicy(path: string | undefined): Promise<PolicyDocument> {
  if (path === undefined) return parsePolicy(BUILT_IN_POLICY, BUILT_IN_POLICY_NAME);
  return parsePolicy(await readPolicyFile(path), path, policyFiles());
}

/** The files of this machine, as they are now. */
export function policyFiles(): PolicyFiles {
  return { read: readNamedFile, now: new Date() };
}

/** Not blocking: a FIFO would wait for its writer. */
function readNamedFile(path: string, maxBytes: number): ReturnType<PolicyFiles['read']> {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = fstatSync(descriptor);
    if (!facts.isFile()) return { problem: 'is not a regular file' };
    if (facts.size > maxBytes) return { problem: `is larger than ${maxBytes} bytes` };
    return { text: readFileSync(descriptor, 'latin1') };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return { problem: `cannot be read (${errno})` };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * Refuses files of the policy that the agent may write, by their name or by what it leads to: it could choose whom to trust.
 * @throws CastellanError `filesystem_refused`
 */
export async function refuseWritableFiles(
  { network }: Pick<PolicyDocument, 'network'>,
  granted: readonly Pick<GrantedPath, 'path' | 'access'>[],
): Promise<void> {
  const paths = new Set(
    network.flatMap(({ endpoints }) => endpoints.flatMap(({ tlsAuthority }) => tlsAuthority?.path ?? [])),
  );
  for (const path of paths) {
    const hole = await writableAbove(path, granted);
    if (hole !== undefined)
      throw new CastellanError(
        'filesystem_refused',
        `the agent may write ${hole}, and so the tls_authority ${path} of the policy`,
        { step: 'policy', object: path },
      );
  }
}

/** The granted path, if any, through which the agent could exchange the file. */
export async function writableAbove(
  path: string,
  granted: readonly Pick<GrantedPath, 'path' | 'access'>[],
): Promise<string | undefined> {
  const target = await realpath(path).catch(() => path);
  return granted.find(
    (grant) => grant.access === 'write' && (covers(grant.path, path) || covers(grant.path, target)),
  )?.path;
}

/** Tells what was loaded and what the operator should know about it. */
export function reportPolicy(
  policy: PolicyDocument,
  path: string | undefined,
  report: Report,
  closed?: number,
): void {
  report({
    kind: 'policy-loaded',
    path: path ?? BUILT_IN_POLICY_NAME,
    digest: policy.digest,
    rules: policy.network.length,
    notices: policy.notices.map(({ message, position }) =>
      position === undefined ? message : `line ${position.line}: ${message}`,
    ),
    ...(closed !== undefined && { closed }),
  });
}

/** The text of the file. @throws CastellanError `policy_unreadable` */
export async function readPolicyFile(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const facts = await file.stat();
    if (!facts.isFile()) throw unreadable(path, 'is not a regular file');
    if (facts.size > MAX_POLICY_BYTES) throw unreadable(path, `is larger than ${MAX_POLICY_BYTES} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof CastellanError) throw error;
    throw unreadable(path, 'cannot be read', errnoOf(error));
  }
}

function unreadable(path: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('policy_unreadable', `policy ${path} ${problem}`, {
    step: 'policy',
    object: path,
    ...(errno && { errno }),
  });
}

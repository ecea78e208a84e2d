import { open } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { MAX_POLICY_BYTES, parsePolicy } from '../policy/parse.ts';

/** Where no policy is named or installed: the file-system defaults of the language, and no network. */
export const BUILT_IN_POLICY = 'version: 1\n';
export const BUILT_IN_POLICY_NAME = '(built-in policy)';

/**
 * Reads and validates the policy.
 * @throws CastellanError `policy_unreadable`, `policy_invalid`
 */
export async function loadPolicy(path: string | undefined): Promise<PolicyDocument> {
  if (path === undefined) return parsePolicy(BUILT_IN_POLICY, BUILT_IN_POLICY_NAME);
  return parsePolicy(await readPolicyFile(path), path);
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

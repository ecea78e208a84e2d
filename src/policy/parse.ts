/** Policy text to document: everything is checked here, once, and every problem names its line and column. */
import { createHash } from 'node:crypto';
import { CastellanError } from '../errors.ts';
import { checkAmbiguity } from './ambiguity.ts';
import type { NetworkRule, PolicyDocument, SourcePosition } from './document.ts';
import { FACT_LIMITS } from './fact-limits.ts';
import { readFilesystem } from './filesystem.ts';
import { readLandlock } from './landlock.ts';
import { refuseMiddlewares } from './middlewares.ts';
import { readNetwork } from './network.ts';
import { readProcess } from './process.ts';
import { readSeccomp } from './seccomp.ts';
import { isAbsent, readFields, readInteger } from './source/fields.ts';
import { type Findings, inTextOrder, type PolicyProblem, refuse } from './source/findings.ts';
import { readTree } from './source/tree.ts';
import type { PolicyFiles } from './tls-authority.ts';

export type { PolicyProblem } from './source/findings.ts';

/** Far above any policy written by hand, and read whole into memory. */
export const MAX_POLICY_BYTES = 1024 * 1024;

const START: SourcePosition = { line: 1, column: 1 };
const SECTIONS = [
  'version',
  'filesystem_policy',
  'landlock',
  'process',
  'seccomp',
  'network_policies',
  'network_middlewares',
] as const;

export interface PolicyCheck {
  /** Undefined where there is any problem. */
  readonly document: PolicyDocument | undefined;
  /** In the order of the text. */
  readonly problems: readonly PolicyProblem[];
}

/**
 * The policy a text stands for. `file` names it in messages; `files` are those it may name itself.
 * @throws CastellanError `policy_invalid`, whose message begins with FILE:LINE:COLUMN of the first problem.
 */
export function parsePolicy(text: string, file: string, files?: PolicyFiles): PolicyDocument {
  const { document, problems } = checkPolicy(text, file, { files });
  if (document !== undefined) return document;
  const [{ position, message } = { position: START, message: 'is not a policy' }, ...others] = problems;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new CastellanError(
    'policy_invalid',
    `${file}:${position.line}:${position.column}: ${message}${more}`,
    {
      step: 'policy',
      object: file,
    },
  );
}

export interface PolicyContext {
  /** Those that the policy may name. */
  readonly files?: PolicyFiles | undefined;
  /** Rules of another policy that it has to go with. */
  readonly beside?: readonly NetworkRule[];
}

/** Like parsePolicy, with all problems as values. */
export function checkPolicy(
  text: string,
  file: string,
  { files, beside = [] }: PolicyContext = {},
): PolicyCheck {
  const findings: Findings = { file, problems: [], notices: [], files };
  const document = readPolicy(text, beside, findings);
  const problems = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  return { document: problems.length === 0 ? document : undefined, problems };
}

function readPolicy(
  text: string,
  beside: readonly NetworkRule[],
  findings: Findings,
): PolicyDocument | undefined {
  if (Buffer.byteLength(text) > MAX_POLICY_BYTES)
    return refuse(findings, START, `the policy is larger than ${MAX_POLICY_BYTES} bytes`);
  const tree = readTree(text, findings, FACT_LIMITS.text);
  if (tree === undefined) return undefined;
  if (isAbsent(tree)) return refuse(findings, START, 'the policy is empty; it needs at least "version: 1"');
  const fields = readFields(tree, 'the policy', SECTIONS, findings);
  if (tree.kind === 'map' && !fields.has('version')) refuse(findings, START, 'the policy needs "version: 1"');
  readInteger(fields.get('version'), 'version', [1, 1], findings);
  refuseMiddlewares(fields.get('network_middlewares'), findings);
  const network = readNetwork(fields.get('network_policies'), findings);
  // A problem of its own would only be told twice.
  if (findings.problems.length === 0) checkAmbiguity([...beside, ...network], findings);
  return {
    version: 1,
    filesystem: readFilesystem(fields.get('filesystem_policy'), findings),
    landlock: readLandlock(fields.get('landlock'), findings),
    process: readProcess(fields.get('process'), findings),
    seccomp: readSeccomp(fields.get('seccomp'), findings),
    network,
    notices: findings.notices,
    digest: `sha256:${createHash('sha256').update(text).digest('hex')}`,
  };
}

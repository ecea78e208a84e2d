/** Files of expectations about a policy: what it has to allow and to refuse. */
import { CastellanError } from '../errors.ts';
import type { SourcePosition } from './document.ts';
import { readChoice, readFields, readList, readMap, readText } from './source/fields.ts';
import { type Findings, refuse } from './source/findings.ts';
import { readTree, type TreeNode } from './source/tree.ts';

export interface Assertion {
  readonly name: string;
  /** The program, then its ancestors. */
  readonly binaries: readonly [string, ...string[]];
  readonly url: string;
  readonly method: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly expect: 'allow' | 'audit' | 'deny';
  /** Looked at where given. */
  readonly rule: string | undefined;
  readonly reason: string | undefined;
  readonly position: SourcePosition;
}

const KEYS = [
  'name',
  'binary',
  'ancestors',
  'url',
  'method',
  'headers',
  'body',
  'expect',
  'rule',
  'reason',
] as const;

/**
 * Reads `tests:` of a YAML text. `file` names it in messages.
 * @throws CastellanError `policy_invalid` at the first problem
 */
export function parseAssertions(text: string, file: string): Assertion[] {
  const findings: Findings = { file, problems: [], notices: [] };
  const tree = readTree(text, findings);
  const tests = tree && readFields(tree, 'the file', ['tests'], findings).get('tests');
  if (tests === undefined && findings.problems.length === 0)
    refuse(findings, { line: 1, column: 1 }, 'the file needs a list "tests"');
  const assertions = readList(tests, 'tests', findings).flatMap(
    (node) => readAssertion(node, findings) ?? [],
  );
  const [problem] = findings.problems;
  if (problem === undefined) return assertions;
  const { position, message } = problem;
  throw new CastellanError('policy_invalid', `${file}:${position.line}:${position.column}: ${message}`, {
    step: 'policy',
    object: file,
  });
}

function readAssertion(node: TreeNode, findings: Findings): Assertion | undefined {
  const fields = readFields(node, 'a test', KEYS, findings);
  const text = (key: (typeof KEYS)[number]) => readText(fields.get(key), `${key} of a test`, findings);
  const [binary, url] = [text('binary'), text('url')];
  const expect = readChoice(fields.get('expect'), 'expect', ['allow', 'audit', 'deny'], findings);
  if (binary === undefined || url === undefined || expect === undefined)
    return refuse(findings, node.position, 'a test needs binary, url and expect');
  const ancestors = readList(fields.get('ancestors'), 'ancestors of a test', findings).flatMap(
    (item) => readText(item, 'an ancestor', findings) ?? [],
  );
  const method = text('method');
  return {
    name: text('name') ?? `${method ?? 'GET'} ${url} by ${binary}`,
    binaries: [binary, ...ancestors],
    url,
    method,
    headers: readHeaders(fields.get('headers'), findings),
    body: text('body'),
    expect,
    rule: text('rule'),
    reason: text('reason'),
    position: node.position,
  };
}

function readHeaders(node: TreeNode | undefined, findings: Findings): Readonly<Record<string, string>> {
  if (node === undefined) return {};
  return Object.fromEntries(
    [...readMap(node, 'headers of a test', findings)].map(([name, { value }]) => [
      name.toLowerCase(),
      readText(value, `header ${name}`, findings) ?? '',
    ]),
  );
}

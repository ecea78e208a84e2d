import { escapeText } from '../../lib/escape.ts';
import type { PolicyNotice, SourcePosition } from '../document.ts';
import type { PolicyFiles } from '../tls-authority.ts';

export interface PolicyProblem {
  readonly file: string;
  readonly position: SourcePosition;
  readonly message: string;
}

/** What reading a policy turned up: problems stop the load, notices do not. */
export interface Findings {
  readonly file: string;
  readonly problems: PolicyProblem[];
  readonly notices: PolicyNotice[];
  /** Undefined where a policy is looked at without the machine it is for. */
  readonly files?: PolicyFiles | undefined;
}

/** More than anybody corrects in one go, and few enough to keep in memory whatever the text is. */
export const MAX_PROBLEMS = 1000;

/** Notes a problem; the caller goes on with what is left, so that one pass finds them all. */
export function refuse(findings: Findings, position: SourcePosition, message: string): undefined {
  if (findings.problems.length < MAX_PROBLEMS)
    findings.problems.push({ file: findings.file, position, message });
}

/** Notes what the operator should know. */
export function notice(findings: Findings, position: SourcePosition, message: string): void {
  findings.notices.push({ position, message });
}

/** A word of the policy inside a message: one line, not too long. */
export function quote(text: string): string {
  return `"${escapeText(text, 100)}"`;
}

export function inTextOrder(a: SourcePosition, b: SourcePosition): number {
  return a.line - b.line || a.column - b.column;
}

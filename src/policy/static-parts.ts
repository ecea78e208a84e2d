import { isDeepStrictEqual } from 'node:util';
import type { PolicyDocument } from './document.ts';

const STATIC_PARTS = {
  filesystem: 'filesystem_policy',
  landlock: 'landlock',
  process: 'process',
  seccomp: 'seccomp',
} as const satisfies Partial<Record<keyof PolicyDocument, string>>;

/** The sections that differ in meaning and are applied once, when a process is started: a running one cannot be given others. */
export function changedStaticParts(before: PolicyDocument, after: PolicyDocument): string[] {
  return Object.entries(STATIC_PARTS)
    .filter(([part]) => {
      const key = part as keyof typeof STATIC_PARTS;
      return !isDeepStrictEqual(before[key], after[key]);
    })
    .map(([, section]) => section);
}

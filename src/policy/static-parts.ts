import { isDeepStrictEqual } from 'node:util';
import type { PolicyDocument } from './document.ts';

/** What is applied where processes are started, and not where the network is. */
export type StaticPolicy = Pick<PolicyDocument, keyof typeof STATIC_PARTS>;

const STATIC_PARTS = {
  filesystem: 'filesystem_policy',
  landlock: 'landlock',
  process: 'process',
  seccomp: 'seccomp',
} as const satisfies Partial<Record<keyof PolicyDocument, string>>;

/** The sections that differ in meaning and are applied once, when a process is started: a running one cannot be given others. */
export function changedStaticParts(before: StaticPolicy, after: StaticPolicy): string[] {
  return Object.entries(STATIC_PARTS)
    .filter(([part]) => {
      const key = part as keyof typeof STATIC_PARTS;
      return !isDeepStrictEqual(before[key], after[key]);
    })
    .map(([, section]) => section);
}

/** Those sections alone. */
export function staticParts({ filesystem, landlock, process, seccomp }: StaticPolicy): StaticPolicy {
  return { filesystem, landlock, process, seccomp };
}

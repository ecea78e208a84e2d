import type { SeccompPolicy } from './document.ts';
import { readChoice, readFields, readList } from './source/fields.ts';
import type { Findings } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

const SECTION = 'seccomp';

/** Groups of native/launch/seccomp.table that a policy may relax, in the order of their bits, and what each gives away. */
export const SECCOMP_GROUPS = {
  trace:
    'programs may look into and steer each other, so a rule for one program holds for all of the sandbox',
  namespaces:
    'programs may make namespaces of their own, with the capabilities and the kernel surface that come along',
  'io-uring': 'io_uring does what other system calls would be refused for',
  perf: 'performance events tell of other programs, and have a record of kernel bugs',
  bpf: 'programs may load code into the kernel where it lets users do so',
  keys: 'the kernel’s keyrings of the user are in reach',
  userfaultfd: 'page faults handled by programs make races in the kernel easy to win',
  netlink: 'kernel interfaces beyond routing are in reach',
  personality: 'address randomisation and execute protection may be turned off',
} as const;
export type SeccompGroup = keyof typeof SECCOMP_GROUPS;
export const SECCOMP_GROUP_NAMES = Object.keys(SECCOMP_GROUPS) as SeccompGroup[];

/** Reads the seccomp section, castellan's own addition to the language. */
export function readSeccomp(node: TreeNode | undefined, findings: Findings): SeccompPolicy {
  const relax = node && readFields(node, SECTION, ['relax'], findings).get('relax');
  const groups = readList(relax, `${SECTION}.relax`, findings).map((item) =>
    readChoice(item, `a group in ${SECTION}.relax`, SECCOMP_GROUP_NAMES, findings),
  );
  return { relax: [...new Set(groups.filter((group) => group !== undefined))] };
}

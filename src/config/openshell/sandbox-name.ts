import { createHash } from 'node:crypto';
import { isSandboxName } from '../config.ts';

/** Leaves room for a dash and the digits below in a name of 31 characters. */
const MAX_READABLE = 22;
const DIGITS = 8;

/**
 * The name castellan gives a sandbox that its platform calls something else: a name of ours is a path component, an SSH host alias and a log
 * field, with the characters that suit all three. The same for the same name, and different for different ones.
 */
export function sandboxNameFor(name: string): string {
  if (isSandboxName(name)) return name;
  const readable = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^-/, '')
    .slice(0, MAX_READABLE)
    .replace(/-$/, '');
  const digest = createHash('sha256').update(name).digest('hex').slice(0, DIGITS);
  return `${readable === '' ? 'sandbox' : readable}-${digest}`;
}

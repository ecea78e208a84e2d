import { FACT_LIMITS } from './fact-limits.ts';

/** An absolute path in its one spelling, or what is wrong with it. Nothing is looked up. */
export function parsePath(text: string): { readonly path: string } | { readonly problem: string } {
  if (!text.startsWith('/')) return { problem: 'must be absolute' };
  if (text.includes('\0')) return { problem: 'must not contain NUL' };
  if (!text.isWellFormed()) return { problem: 'must be well-formed Unicode' };
  if (Buffer.byteLength(text) > FACT_LIMITS.path)
    return { problem: `must not be longer than ${FACT_LIMITS.path} bytes` };
  const components = text.split('/').filter((component) => component !== '' && component !== '.');
  if (components.includes('..')) return { problem: 'must not contain ".."' };
  return { path: `/${components.join('/')}` };
}

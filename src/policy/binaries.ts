/**
 * A policy names programs as people call them; the kernel reports the file that symbolic links lead to. The links are
 * looked up where files may be touched; these two functions are the pure ends of that.
 */
import type { BinaryPattern, NetworkRule } from './document.ts';

/** Every path that rules name without a pattern, once: those that may be symbolic links. */
export function literalBinaries(rules: readonly NetworkRule[]): string[] {
  const paths = rules.flatMap(({ binaries }) => binaries.map(({ path }) => path));
  return [...new Set(paths)].filter((path) => !path.includes('*'));
}

/** The rules with the target of each path that has one beside the path itself, and its pins: they are about the content. */
export function addBinaryTargets(
  rules: readonly NetworkRule[],
  targets: ReadonlyMap<string, string>,
): NetworkRule[] {
  return rules.map((rule) => {
    const listed = new Set(rule.binaries.map(identityOf));
    const added = rule.binaries.flatMap((binary) => {
      const target = binary.path.includes('*') ? undefined : targets.get(binary.path);
      // A target with a star in its name would be read as a pattern.
      if (target === undefined || target.includes('*')) return [];
      const pattern = { ...binary, path: target };
      const isNew = !listed.has(identityOf(pattern));
      listed.add(identityOf(pattern));
      return isNew ? [pattern] : [];
    });
    return { ...rule, binaries: [...rule.binaries, ...added] };
  });
}

function identityOf({ path, sha256 = [] }: BinaryPattern): string {
  return JSON.stringify([path, ...sha256]);
}

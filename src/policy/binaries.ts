/**
 * A policy names programs as people call them; the kernel reports the file that symbolic links lead to. The links are
 * looked up where files may be touched; these two functions are the pure ends of that.
 */
import type { NetworkRule } from './document.ts';

/** Every path that rules name without a pattern, once: those that may be symbolic links. */
export function literalBinaries(rules: readonly NetworkRule[]): string[] {
  const paths = rules.flatMap(({ binaries }) => binaries.map(({ path }) => path));
  return [...new Set(paths)].filter((path) => !path.includes('*'));
}

/** The rules with the target of each path that has one beside the path itself. */
export function addBinaryTargets(
  rules: readonly NetworkRule[],
  targets: ReadonlyMap<string, string>,
): NetworkRule[] {
  return rules.map((rule) => {
    const paths = new Set(rule.binaries.map(({ path }) => path));
    for (const path of [...paths]) {
      const target = path.includes('*') ? undefined : targets.get(path);
      // A target with a star in its name would be read as a pattern.
      if (target !== undefined && !target.includes('*')) paths.add(target);
    }
    return { ...rule, binaries: [...paths].map((path) => ({ path })) };
  });
}

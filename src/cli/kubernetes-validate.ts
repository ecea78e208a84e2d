import { parseManifest } from '../kubernetes/manifest.ts';
import { POD_SECURITY_LEVELS } from '../kubernetes/pod-security.ts';
import { type PodReport, validateManifest } from '../kubernetes/validate.ts';
import { escapeText } from '../lib/escape.ts';
import { readInput } from './input.ts';
import { printJson, type Verb } from './verb.ts';
import { chosenWord } from './words.ts';

/** `castellan kubernetes validate FILE`: 0 where there is nothing to correct, 1 where there is, or no pod at all. */
export const verb: Verb = async ({ options, operands: [file = ''] }, { stdin, stdout }) => {
  const manifest = parseManifest(await readInput(file, stdin), file);
  const pods = validateManifest(manifest, {
    podSecurity: chosenWord(options, 'pod-security', POD_SECURITY_LEVELS),
    supervised: options.has('require-castellan'),
  });
  if (options.has('json')) printJson(stdout, { file, pods, others: manifest.others });
  else
    stdout.write(
      `${textOf(file, pods, manifest.others)
        .map((line) => escapeText(line, 4000))
        .join('\n')}\n`,
    );
  return pods.length > 0 && pods.every(({ findings }) => findings.length === 0) ? 0 : 1;
};

function textOf(file: string, pods: readonly PodReport[], others: readonly string[]): string[] {
  return [
    ...pods.flatMap((pod) => [
      `${file}:${pod.line}: ${pod.kind} ${pod.name}: Pod Security ${pod.podSecurity} (${levelsOf(pod)}); SCC ${pod.scc}; RBAC: ${pod.rbac}; ${pod.supervised ? `castellan supervises it as ${pod.identity}` : 'castellan is not in it'}`,
      ...pod.findings.map(
        ({ line, where, path, rule, why, remedy }) =>
          `${file}:${line}: ${where}: ${path}: ${why}; ${remedy} [${rule}]`,
      ),
    ]),
    ...(others.length === 0 ? [] : [`not looked at: ${others.join(', ')}`]),
    ...(pods.length === 0 ? [`${file}: nothing in it makes a pod`] : []),
  ];
}

function levelsOf({ containers }: PodReport): string {
  return Object.entries(containers)
    .map(([name, level]) => `${name} ${level}`)
    .join(', ');
}

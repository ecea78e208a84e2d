import { usage } from '../config/values.ts';
import type { NamespaceFacts } from '../kubernetes/identity.ts';
import { readNamespace } from '../kubernetes/namespace.ts';
import { parseSandboxRequest } from '../kubernetes/read-request.ts';
import { RENDERED_KINDS, renderSandbox } from '../kubernetes/render.ts';
import { TOPOLOGIES } from '../kubernetes/supervisor.ts';
import { renderYaml } from '../kubernetes/yaml-text.ts';
import { readInput } from './input.ts';
import type { Verb } from './verb.ts';
import { chosenWord } from './words.ts';

/** `castellan kubernetes render -f REQUEST`: the objects of a sandbox, to be applied. */
export const verb: Verb = async ({ options }, { stdin, stdout }) => {
  const option = (name: string) => options.get(name)?.[0];
  const file = option('file');
  if (file === undefined) throw usage('kubernetes render takes -f REQUEST');
  const topology = chosenWord(options, 'topology', TOPOLOGIES);
  const kind = chosenWord(options, 'kind', RENDERED_KINDS) ?? 'Pod';
  const request = parseSandboxRequest(await readInput(file, stdin), file);
  const annotations = option('namespace-annotations');
  const namespace: NamespaceFacts =
    annotations === undefined
      ? { kind: 'unknown' }
      : readNamespace(await readInput(annotations, stdin), annotations);
  const { documents, remarks } = renderSandbox(
    { ...request, topology: topology ?? request.topology },
    { namespace, kind, withScc: options.has('scc') },
  );
  stdout.write(renderYaml(documents, remarks));
  return 0;
};

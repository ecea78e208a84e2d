/** The annotations of a namespace: the object as kubectl prints it, or the map alone. */
import { CastellanError } from '../errors.ts';
import { at } from '../lib/json.ts';
import { type Findings, inTextOrder } from '../policy/source/findings.ts';
import { readTree } from '../policy/source/tree.ts';
import type { NamespaceFacts } from './identity.ts';
import { plainValue } from './plain.ts';
import { QUALIFIED_NAME } from './read-values.ts';

/**
 * @param file names the text in messages
 * @throws CastellanError `manifest_invalid` for what is neither: nothing is assumed in its place
 */
export function readNamespace(text: string, file: string): NamespaceFacts {
  const findings: Findings = { file, problems: [], notices: [] };
  const tree = readTree(text, findings);
  const [first] = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (first !== undefined)
    throw refused(`${file}:${first.position.line}:${first.position.column}: ${first.message}`, file);
  const value = tree === undefined ? undefined : plainValue(tree);
  const kind = at(value, 'kind');
  if (kind !== undefined && kind !== 'Namespace') throw refused(`${file} is no Namespace`, file);
  const annotations = kind === undefined ? value : (at(value, 'metadata', 'annotations') ?? {});
  if (typeof annotations !== 'object' || annotations === null || Array.isArray(annotations))
    throw refused(`${file} is neither a Namespace nor a map of annotations`, file);
  const entries = Object.entries(annotations).map(([name, annotation]): [string, string] => {
    // An error message of kubectl's is a map too.
    if (!QUALIFIED_NAME[0].test(name))
      throw refused(`${file}: ${JSON.stringify(name)} is no name of an annotation`, file);
    if (typeof annotation === 'string') return [name, annotation];
    throw refused(`${file}: annotation ${JSON.stringify(name)} is no text`, file);
  });
  return { kind: 'read', annotations: Object.fromEntries(entries) };
}

function refused(message: string, object: string): CastellanError {
  return new CastellanError('manifest_invalid', message, {
    step: 'kubernetes/namespace',
    object,
    remedy: 'give what kubectl get namespace NAME -o yaml prints',
  });
}

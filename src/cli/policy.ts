import { escapeText } from '../lib/escape.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { loadPolicy } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy FILE`: valid or not, and what it means. */
export const verb: Verb = async (command, { stdout }) => {
  const document = await loadPolicy(command.operands[0]);
  if (command.options.has('json')) printJson(stdout, document);
  else stdout.write(describePolicy(document));
  return 0;
};

function describePolicy(policy: PolicyDocument): string {
  const lines = [
    `digest        ${policy.digest}`,
    `run as        ${policy.process.runAsUser ?? '(default)'}:${policy.process.runAsGroup ?? '(default)'}`,
    `landlock      ${policy.landlock.compatibility}`,
    ...policy.filesystem.readOnly.map((path) => `read          ${path}`),
    ...policy.filesystem.readWrite.map((path) => `read, write   ${path}`),
    ...(policy.filesystem.includeWorkdir ? ['read, write   (the working directory)'] : []),
    ...policy.network.flatMap(({ name, endpoints, binaries }) =>
      endpoints.map(
        ({ host, ports, allowedIps }) =>
          `connect       ${host === '' ? allowedIps.join(',') : host}:${ports.join(',')} by ${binaries.map(({ path }) => path).join(', ') || 'nobody'}  (${name})`,
      ),
    ),
    ...policy.notices.map(
      ({ message, position }) =>
        `notice        ${position === undefined ? '' : `line ${position.line}: `}${message}`,
    ),
  ];
  return `${lines.map((line) => escapeText(line, 2000)).join('\n')}\n`;
}

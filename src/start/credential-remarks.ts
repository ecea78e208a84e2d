import type { RunConfig } from '../config/config.ts';
import type { PolicyDocument } from '../policy/document.ts';

/** What can be said about credentials without reading any. Pure. */
export function credentialRemarks(
  { secretFiles: { credentials: path } }: Pick<RunConfig, 'secretFiles'>,
  { network }: Pick<PolicyDocument, 'network'>,
): string[] {
  if (path !== undefined)
    return [
      `${path} is read by the network role alone, and its placeholders join the environment then; castellan credentials ${path} checks it`,
    ];
  const needed = network.flatMap(({ name, endpoints }) =>
    endpoints.flatMap(({ host, credentials: use }) =>
      (use?.provider ?? use?.signing ?? use?.clientCertificate) === undefined
        ? []
        : [`rule ${name} uses credentials at ${host}, and there are none (--credentials)`],
    ),
  );
  return [...new Set(needed)];
}

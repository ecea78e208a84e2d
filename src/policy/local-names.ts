/** Names that castellan answers itself. They are never resolved and never dialled, whatever the policy says of them. */

export const INFERENCE_HOST = 'inference.local';
export const POLICY_HOST = 'policy.local';

export type LocalService = 'inference' | 'policy';

interface LocalName {
  readonly service: LocalService;
  readonly port: number;
}

const LOCAL_NAMES: ReadonlyMap<string, LocalName> = new Map([
  [INFERENCE_HOST, { service: 'inference', port: 443 }],
  [POLICY_HOST, { service: 'policy', port: 80 }],
]);

/** The port of a name that castellan answers; undefined for all others. */
export function localPort(host: string): number | undefined {
  return LOCAL_NAMES.get(host)?.port;
}

/** What answers there; undefined for other names, and for the other ports of these. */
export function localService(host: string, port: number): LocalService | undefined {
  const name = LOCAL_NAMES.get(host);
  return name?.port === port ? name.service : undefined;
}

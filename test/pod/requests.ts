/** The requests that the suite's pods are rendered from. */
import { IMAGE } from '../bundle/engine.ts';
import { BUSYBOX } from '../bundle/images.ts';
import { AGENT_IMAGE, CURL, PYTHON } from './agent-image.ts';

export const PROXY_UID = 21_337;
export const SANDBOX_UID = 21_500;
export const SANDBOX_GID = 21_600;
export const URL = 'http://allowed.demo.test:8080';

const ALLOWED_IPS = 'allowed_ips: [10.77.0.0/24]';
/** The agent's tools by their own names; which are allowed to do what is what the tests look at. */
export const POLICY = `version: 1
filesystem_policy: { include_workdir: true, read_only: [/bin, /usr, /etc], read_write: [/tmp] }
network_policies:
  web:
    endpoints:
      - { host: allowed.demo.test, ports: [8443], ${ALLOWED_IPS} }
      - { host: allowed.demo.test, port: 8080, protocol: rest, access: full, allow_cleartext_credentials: true, credential_binding: { provider: demo }, ${ALLOWED_IPS} }
    binaries: [{ path: ${CURL} }]
  tools:
    endpoints: [{ host: allowed.demo.test, port: 2525, ${ALLOWED_IPS} }]
    binaries: [{ path: ${PYTHON} }]
`;

export interface RequestOptions {
  readonly name: string;
  readonly topology: 'combined' | 'sidecar';
  /** Of /bin/sh. */
  readonly script: string;
  /** Further lines. */
  readonly more?: string;
  readonly policy?: string;
  readonly ids?: string;
}

/** The script's own lines are JSON, which is YAML. */
export function requestFor({
  name,
  topology,
  script,
  more = '',
  policy = POLICY,
  ids,
}: RequestOptions): string {
  return `name: ${name}
image: ${AGENT_IMAGE}
pull_policy: Never
command: ${JSON.stringify([BUSYBOX, 'sh', '-c', script])}
castellan: { image: "${IMAGE}", pull_policy: Never }
topology: ${topology}
# podman knows no native sidecars: the order comes from the control socket.
native_sidecar: false
proxy_uid: ${PROXY_UID}
${ids ?? `sandbox_uid: ${SANDBOX_UID}\nsandbox_gid: ${SANDBOX_GID}`}
policy: { text: ${JSON.stringify(policy)} }
${/^workspace:/m.test(more) ? '' : 'workspace: { empty_dir: {} }'}
${more}
`;
}

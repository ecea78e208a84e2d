/** How castellan is to be put into a pod. */
import type { V1ResourceRequirements } from '@kubernetes/client-node';
import type { BinaryIdentity } from '../config/pod.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import type { PodIdentity } from './identity.ts';

/** `combined`: both roles in the agent's container, as root. `sidecar`: the agent's container has no privileges at all. */
export const TOPOLOGIES = ['combined', 'sidecar'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** How the program gets into the agent's container: copied by an init container, or its image mounted (Kubernetes 1.33, a beta feature). */
export const INSTALL_METHODS = ['copy', 'image_volume'] as const;
export type InstallMethod = (typeof INSTALL_METHODS)[number];

export interface KeyOf {
  /** Of a Secret or a ConfigMap. */
  readonly name: string;
  readonly key: string;
}

export interface UpstreamProxyOptions {
  readonly url: string;
  readonly noProxy: readonly string[];
  readonly connectByHostname: boolean;
  readonly allowInsecureAuth: boolean;
}

export interface SupervisorOptions {
  readonly topology: Topology;
  readonly identity: PodIdentity;
  /** uid and gid of the network role. */
  readonly proxyUid: number;
  readonly image: string;
  readonly pullPolicy: string | undefined;
  readonly install: InstallMethod;
  readonly policy: KeyOf;
  /** Files that only the network role reads, in Secrets. */
  readonly secrets: Readonly<Partial<Record<SecretFileName, KeyOf>>>;
  readonly workdir: string;
  /** Which container is the agent's; undefined where the pod has one alone. */
  readonly agentContainer: string | undefined;
  /** What becomes of further containers. `fenced`: they run unsupervised, without privileges, behind the same fence. */
  readonly companions: 'refused' | 'fenced';
  readonly binaryIdentity: BinaryIdentity;
  /** False for clusters before 1.29: the sidecar is then an ordinary container, and the control socket gives the order. */
  readonly nativeSidecar: boolean;
  readonly upstreamProxy: UpstreamProxyOptions | undefined;
  /** Where the network role answers probes over HTTP. */
  readonly healthPort: number | undefined;
  /** Where it gives its figures. */
  readonly metricsPort: number | undefined;
  readonly reload: 'never' | 'watch';
  /** castellan's own time between TERM and KILL. */
  readonly graceSeconds: number;
  readonly readOnlyRoot: boolean;
  readonly hostUsers: boolean | undefined;
  /** Of the agent's container in the combined topology, which mounts: the engines' own profiles refuse that. */
  readonly appArmor: 'Unconfined' | 'RuntimeDefault' | `Localhost/${string}` | undefined;
  /** The volume that an image's own directory is copied into before the agent starts. */
  readonly seed: { readonly volume: string; readonly from: string } | undefined;
  /** Of the network sidecar. */
  readonly resources: V1ResourceRequirements | undefined;
}

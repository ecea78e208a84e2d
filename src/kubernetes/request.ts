/** A sandbox as its operator asks for it: the file that `castellan kubernetes render` reads. */
import type { V1ResourceRequirements, V1Toleration } from '@kubernetes/client-node';
import type { BinaryIdentity } from '../config/pod.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import type { ConfiguredIds } from './identity.ts';
import type {
  InstallMethod,
  KeyOf,
  SupervisorOptions,
  Topology,
  UpstreamProxyOptions,
} from './supervisor.ts';

export interface SandboxRequest {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly image: string;
  readonly pullPolicy: PullPolicy | undefined;
  readonly pullSecrets: readonly string[];
  /** As it is to be executed: nothing in it is replaced. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly topology: Topology;
  readonly identity: 'ids' | 'platform';
  readonly ids: ConfiguredIds;
  readonly proxyUid: number;
  readonly castellan: {
    readonly image: string;
    readonly pullPolicy: PullPolicy | undefined;
    readonly install: InstallMethod;
    readonly resources: V1ResourceRequirements | undefined;
  };
  readonly policy: PolicySource;
  readonly secrets: Readonly<Partial<Record<SecretFileName, KeyOf>>>;
  readonly resources: V1ResourceRequirements | undefined;
  readonly workspace: Workspace;
  readonly volumes: readonly RequestedVolume[];
  readonly serviceAccount: string | undefined;
  readonly runtimeClass: string | undefined;
  readonly priorityClass: string | undefined;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly V1Toleration[];
  readonly binaryIdentity: BinaryIdentity;
  readonly nativeSidecar: boolean;
  readonly upstreamProxy: UpstreamProxyOptions | undefined;
  readonly healthPort: number | undefined;
  readonly metricsPort: number | undefined;
  readonly reload: SupervisorOptions['reload'];
  readonly graceSeconds: number;
  readonly readOnlyRoot: boolean;
  readonly hostUsers: boolean | undefined;
  readonly appArmor: SupervisorOptions['appArmor'];
}

export const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'] as const;
export type PullPolicy = (typeof PULL_POLICIES)[number];

/** Written into the request, or a ConfigMap that is there. */
export type PolicySource =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'config-map'; readonly from: KeyOf };

export type VolumeSource =
  | { readonly kind: 'empty-dir'; readonly sizeLimit: string | undefined }
  | { readonly kind: 'claim'; readonly claim: string }
  /** Made for the sandbox: with it and after it for a Sandbox, and for as long as the pod for a Pod. */
  | { readonly kind: 'claim-template'; readonly size: string; readonly storageClass: string | undefined }
  | { readonly kind: 'config-map'; readonly configMap: string };

export interface Workspace {
  readonly source: VolumeSource;
  /** Whether what the image has in the working directory is copied into an empty workspace. */
  readonly seed: boolean;
}

export interface RequestedVolume {
  readonly name: string;
  readonly mount: string;
  readonly readOnly: boolean;
  readonly source: VolumeSource;
}

export const DEFAULT_WORKDIR = '/sandbox';
export const DEFAULT_WORKSPACE_SIZE = '2Gi';
/** As castellan run has it. */
export const DEFAULT_GRACE_SECONDS = 10;

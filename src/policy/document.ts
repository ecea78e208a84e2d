import type { GraphqlOperation } from './request.ts';
import type { SeccompGroup } from './seccomp.ts';

/** The policy document after parsing: every default applied, every string checked, nothing optional left vague. */

export interface PolicyDocument {
  readonly version: 1;
  readonly filesystem: FilesystemPolicy;
  readonly landlock: LandlockPolicy;
  readonly process: ProcessPolicy;
  readonly seccomp: SeccompPolicy;
  readonly network: readonly NetworkRule[];
  /** Things worth telling the operator that do not stop the load. */
  readonly notices: readonly PolicyNotice[];
  /** `sha256:<hex>` of the source text. */
  readonly digest: string;
}

export interface LandlockPolicy {
  readonly compatibility: 'best_effort' | 'hard_requirement';
  /** TCP ports that may be bound and connected to; undefined leaves them to the sealed namespace. */
  readonly bindPorts: readonly number[] | undefined;
  readonly connectPorts: readonly number[] | undefined;
}

export interface SeccompPolicy {
  readonly relax: readonly SeccompGroup[];
}

export interface FilesystemPolicy {
  readonly includeWorkdir: boolean;
  readonly readOnly: readonly string[];
  readonly readWrite: readonly string[];
}

export interface ProcessPolicy {
  /** A name or a decimal id as written; undefined where the policy leaves it to the platform. */
  readonly runAsUser: string | undefined;
  readonly runAsGroup: string | undefined;
}

export interface NetworkRule {
  /** The key under network_policies. */
  readonly name: string;
  readonly endpoints: readonly Endpoint[];
  readonly binaries: readonly BinaryPattern[];
  /** Milliseconds since the epoch. From then on the rule grants nothing; what it inspects and refuses stays so. */
  readonly expires?: number | undefined;
  readonly position: SourcePosition;
}

export interface Endpoint {
  /** Lower case exact name, IP literal or host glob; empty only together with allowedIps. */
  readonly host: string;
  readonly ports: readonly number[];
  /** '' is TCP with HTTP and TLS recognised; 'tcp' is raw; the others are opened, and each request judged. */
  readonly protocol: '' | 'tcp' | InspectedProtocol;
  /** CIDR blocks in canonical form. */
  readonly allowedIps: readonly string[];
  /** What is looked at in requests; undefined exactly where the protocol is not an inspected one. */
  readonly inspection?: Inspection | undefined;
  /** Undefined: the authorities of the system. Only where TLS is opened. */
  readonly tlsAuthority?: TlsAuthority | undefined;
  /** TLS that is not opened may hide the name it asks for. */
  readonly allowsEncryptedHello?: true;
  /** How secrets are used here, beside by those credentials that name the destination themselves. */
  readonly credentials?: CredentialUse | undefined;
  /** `tls: skip`: left closed, whatever a credential says. */
  readonly skipsTls?: boolean | undefined;
  readonly position: SourcePosition;
}

/** Whom origins have to be certified by, in the place of the authorities of the system. */
export interface TlsAuthority {
  readonly path: string;
  /** PEM, one certificate each. */
  readonly certificates: readonly string[];
  /** `sha256:<hex>` of them: equal digests are the same trust. */
  readonly digest: string;
}

export const INSPECTED_PROTOCOLS = ['rest', 'websocket', 'graphql', 'json-rpc', 'mcp'] as const;
export type InspectedProtocol = (typeof INSPECTED_PROTOCOLS)[number];

export interface Inspection {
  /** Glob over the paths the endpoint is about; undefined for all. */
  readonly path: string | undefined;
  /** `audit` lets pass, and records, what no rule allows. */
  readonly enforcement: 'enforce' | 'audit';
  readonly allow: readonly RequestPattern[];
  /** They come before every `allow` of the same destination and binary. */
  readonly deny: readonly RequestPattern[];
  readonly allowEncodedSlash: boolean;
  /** Bodies that have to be read to be judged. */
  readonly maxBodyBytes: number;
  /** By hash or id; a persisted query that is not here is refused. */
  readonly persistedQueries: Readonly<Record<string, GraphqlOperation>>;
  /** Tool names are held to the characters the protocol recommends. */
  readonly strictToolNames: boolean;
  /** Every method of the protocol is allowed that no rule narrows. */
  readonly allowKnownMethods: boolean;
}

/** What is done with credentials in requests to an endpoint. */
export interface CredentialUse {
  /** Credentials of this provider may go here. */
  readonly provider?: string | undefined;
  /** Placeholders are replaced in bodies, and in text messages of clients over a WebSocket. */
  readonly rewriteBody: boolean;
  readonly rewriteWebSocket: boolean;
  /** Bodies and messages pass with placeholders in them, which nobody replaces. */
  readonly allowUninspected: boolean;
  /** Secrets may go out without TLS. */
  readonly allowCleartext: boolean;
  readonly signing?: RequestSigning | undefined;
  /** By its name among the client certificates: what TLS to the origin is opened with. */
  readonly clientCertificate?: string | undefined;
}

/** AWS Signature Version 4. */
export interface RequestSigning {
  /** Whether the signature covers the body; `auto` leaves it to what the client declares. */
  readonly payload: 'auto' | 'signed' | 'unsigned';
  readonly service: string;
  /** Undefined where the host name tells it. */
  readonly region?: string | undefined;
}

/** One rule about requests. Texts are globs; what is undefined or empty is not looked at. */
export type RequestPattern =
  | {
      readonly kind: 'http';
      /** Upper case, or `*`; GET stands for HEAD too. */
      readonly method: string | undefined;
      readonly path: string | undefined;
      readonly query: readonly ValuePattern[];
      readonly position: SourcePosition;
    }
  | {
      readonly kind: 'graphql';
      readonly operationType: GraphqlOperation['type'] | '*' | undefined;
      readonly operationName: string | undefined;
      readonly fields: readonly string[];
      readonly position: SourcePosition;
    }
  | {
      readonly kind: 'rpc';
      readonly method: string | undefined;
      /** Of tools/call: the tool is one of these. */
      readonly tool: readonly string[];
      /** Of tools/call, by the name of the argument. */
      readonly arguments: readonly ValuePattern[];
      readonly position: SourcePosition;
    };

/** A key, and globs of which its value has to match one. */
export interface ValuePattern {
  readonly key: string;
  readonly any: readonly string[];
}

export interface BinaryPattern {
  /** Absolute path, or glob where it contains `*`. */
  readonly path: string;
  /** SHA-256 in lower-case hexadecimal: its content has to be one of these; absent where any will do. */
  readonly sha256?: readonly string[];
}

export interface SourcePosition {
  /** 1-based. */
  readonly line: number;
  readonly column: number;
}

export interface PolicyNotice {
  readonly message: string;
  readonly position: SourcePosition | undefined;
}

/** What every OCSF 1.8.0 event has, and the vocabulary of the classes castellan uses. Captions stand beside ids, as consumers map either. */
import { fitted } from './fit.ts';

export const OCSF_VERSION = '1.8.0';
export const LOG_NAME = 'audit';
export const LOG_PROVIDER = 'castellan';
export const PRODUCT_NAME = 'castellan';

/** Of one run: the same in all of its events. */
export interface AuditContext {
  /** A random UUID: what ties the events of one run together. */
  readonly bootId: string;
  readonly version: string;
  readonly hostname: string;
  readonly kernelRelease: string;
  readonly osName: string;
  readonly sandboxId: string;
  readonly supervisorPid: number;
  /** What earlier facts of the run told, and later events repeat. */
  readonly policy?: { readonly path: string; readonly digest: string };
  readonly user?: { readonly name: string; readonly uid: number };
}

/** When and as which event of the run; uids made from it are never used twice. */
export interface Stamp {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly sequence: number;
}

export interface OcsfEvent {
  readonly class_uid: number;
  readonly class_name: string;
  readonly activity_id: number;
  readonly activity_name: string;
  readonly type_uid: number;
  readonly severity_id: number;
  readonly severity: string;
  readonly time: number;
  readonly message: string;
  readonly type_name: string;
  readonly metadata: { readonly uid: string; readonly [other: string]: unknown };
  readonly action?: string;
  readonly status?: string;
  readonly status_code?: string;
  readonly status_detail?: string;
  readonly unmapped?: Readonly<Record<string, unknown>>;
  readonly [other: string]: unknown;
}

interface OcsfClass {
  readonly uid: number;
  readonly name: string;
  readonly category: string;
  readonly activities: Readonly<Record<number, string>>;
  /** Whether the profile security_control (action, disposition) belongs to it. */
  readonly control: boolean;
  readonly proxy?: boolean;
  /** Whether the profile ai_operation (model, tokens) belongs to it. */
  readonly model?: boolean;
}

const FLOW = { 1: 'Open', 2: 'Close', 3: 'Reset', 4: 'Fail', 5: 'Refuse', 7: 'Listen' };

export const CLASSES = {
  file: {
    uid: 1001,
    name: 'File System Activity',
    category: 'System Activity',
    activities: { 1: 'Create' },
    control: true,
  },
  process: {
    uid: 1007,
    name: 'Process Activity',
    category: 'System Activity',
    activities: { 1: 'Launch', 2: 'Terminate' },
    control: true,
  },
  eventLog: {
    uid: 1008,
    name: 'Event Log Activity',
    category: 'System Activity',
    activities: { 6: 'Start', 7: 'Stop' },
    control: false,
  },
  finding: {
    uid: 2004,
    name: 'Detection Finding',
    category: 'Findings',
    activities: { 1: 'Create' },
    control: true,
  },
  network: {
    uid: 4001,
    name: 'Network Activity',
    category: 'Network Activity',
    activities: FLOW,
    control: true,
    proxy: true,
  },
  http: {
    uid: 4002,
    name: 'HTTP Activity',
    category: 'Network Activity',
    activities: {
      1: 'Connect',
      2: 'Delete',
      3: 'Get',
      4: 'Head',
      5: 'Options',
      6: 'Post',
      7: 'Put',
      8: 'Trace',
      9: 'Patch',
    },
    control: true,
    proxy: true,
  },
  dns: {
    uid: 4003,
    name: 'DNS Activity',
    category: 'Network Activity',
    activities: { 2: 'Response' },
    control: true,
  },
  ssh: { uid: 4007, name: 'SSH Activity', category: 'Network Activity', activities: FLOW, control: true },
  config: {
    uid: 5019,
    name: 'Device Config State Change',
    category: 'Discovery',
    activities: { 1: 'Log' },
    control: true,
  },
  lifecycle: {
    uid: 6002,
    name: 'Application Lifecycle',
    category: 'Application Activity',
    activities: { 3: 'Start', 4: 'Stop' },
    control: false,
  },
  api: {
    uid: 6003,
    name: 'API Activity',
    category: 'Application Activity',
    activities: { 1: 'Create', 2: 'Read' },
    control: true,
    model: true,
  },
  error: {
    uid: 6008,
    name: 'Application Error',
    category: 'Application Activity',
    activities: { 1: 'General Error' },
    control: false,
  },
} as const satisfies Record<string, OcsfClass>;

export type ClassKey = keyof typeof CLASSES;

const SEVERITIES = { 1: 'Informational', 2: 'Low', 3: 'Medium', 4: 'High', 5: 'Critical' } as const;
export type Severity = keyof typeof SEVERITIES;
/** From here on an event is on disk before anything else happens. */
export const HIGH: Severity = 4;

const ACTIONS = {
  allowed: [1, 'Allowed', 1, 'Allowed'],
  denied: [2, 'Denied', 2, 'Blocked'],
  observed: [3, 'Observed', 15, 'Detected'],
} as const;

export interface EventParts {
  readonly class: ClassKey;
  /** An id of the class, or the source's own word for one it does not have. */
  readonly activity: number | string;
  readonly severity: Severity;
  readonly message: string;
  readonly success?: boolean;
  /** A stable word for programs, and a sentence for people. */
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  readonly action?: keyof typeof ACTIONS;
  readonly correlation?: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
  readonly unmapped?: Readonly<Record<string, unknown>> | undefined;
}

/** The policy in force. */
export function policyOf({ path, digest }: NonNullable<AuditContext['policy']>): object {
  return { name: path, uid: digest, is_applied: true };
}

/** OCSF's integer_t; a longer run has its numbers in the uids alone. */
export const MAX_INTEGER = 2 ** 31 - 1;

/** The uid of an event, in its metadata and wherever another refers to it. */
export function eventUid(context: AuditContext, { sequence }: Stamp): string {
  return `${context.bootId}:${sequence}`;
}

/** Puts an event together, in the form it is recorded in. */
export function makeEvent(parts: EventParts, stamp: Stamp, context: AuditContext): OcsfEvent {
  const kind: OcsfClass = CLASSES[parts.class];
  const known = typeof parts.activity === 'number' ? kind.activities[parts.activity] : undefined;
  const activityId = typeof parts.activity === 'number' ? parts.activity : 99;
  const activityName = known ?? String(parts.activity);
  const [actionId, action, dispositionId, disposition] =
    parts.action === undefined ? [] : ACTIONS[parts.action];
  return fitted({
    time: stamp.time,
    category_uid: Math.floor(kind.uid / 1000),
    category_name: kind.category,
    class_uid: kind.uid,
    class_name: kind.name,
    activity_id: activityId,
    activity_name: activityName,
    type_uid: kind.uid * 100 + activityId,
    type_name: `${kind.name}: ${known ?? 'Other'}`,
    severity_id: parts.severity,
    severity: SEVERITIES[parts.severity],
    timezone_offset: 0,
    ...(parts.success !== undefined && {
      status_id: parts.success ? 1 : 2,
      status: parts.success ? 'Success' : 'Failure',
    }),
    status_code: parts.code,
    status_detail: parts.detail,
    action_id: actionId,
    action,
    disposition_id: dispositionId,
    disposition,
    message: parts.message,
    metadata: {
      version: OCSF_VERSION,
      uid: eventUid(context, stamp),
      sequence: stamp.sequence <= MAX_INTEGER ? stamp.sequence : undefined,
      correlation_uid: parts.correlation,
      profiles: [
        'host',
        ...(kind.control ? ['security_control'] : []),
        ...(kind.proxy ? ['network_proxy'] : []),
        ...(kind.model ? ['ai_operation'] : []),
      ],
      product: { name: PRODUCT_NAME, vendor_name: PRODUCT_NAME, uid: PRODUCT_NAME, version: context.version },
      log_name: LOG_NAME,
      log_provider: LOG_PROVIDER,
      logged_time: stamp.time,
    },
    device: {
      type_id: 6,
      type: 'Virtual',
      uid: context.sandboxId,
      name: context.sandboxId,
      hostname: context.hostname,
      os: { name: context.osName, type_id: 200, type: 'Linux', kernel_release: context.kernelRelease },
    },
    policy: kind.control && context.policy ? policyOf(context.policy) : undefined,
    ...parts.body,
    unmapped: parts.unmapped,
  });
}

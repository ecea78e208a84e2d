/**
 * What every OCSF 1.8.0 event shares. Values from the wire may be out of the schema's ranges and are brought into them
 * in ocsf/objects.ts; lengths are brought down in ocsf/fit.ts.
 */

export const OCSF_VERSION = '1.8.0';
export const PRODUCT = 'castellan';
const LOG_NAME = 'audit';

export type Attributes = Readonly<Record<string, unknown>>;

export interface OcsfEvent extends Attributes {
  readonly time: number;
  readonly class_uid: number;
  readonly activity_id: number;
  readonly activity_name: string;
  readonly type_uid: number;
  readonly type_name: string;
  readonly severity_id: number;
  readonly message: string;
  readonly metadata: Attributes & { readonly uid: string };
  readonly unmapped?: Attributes;
}

/** What is the same in every event of a run. */
export interface AuditContext {
  /** Unique to the run; names its hash chain. */
  readonly bootId: string;
  readonly version: string;
  readonly hostname: string;
  readonly kernelRelease: string;
  readonly osName: string;
  readonly sandboxId: string;
}

/** What earlier facts of the run told, and later events repeat. */
export interface Known {
  readonly supervisorPid: number;
  readonly policy?: { readonly path: string; readonly digest: string };
  readonly user?: { readonly name: string; readonly uid: number };
}

/** Where and when an event is recorded. */
export interface Stamp {
  readonly context: AuditContext;
  readonly known: Known;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Of the first event made from the fact; the following ones count on. */
  readonly sequence: number;
}

export const SEVERITY = { Informational: 1, Low: 2, Medium: 3, High: 4, Critical: 5 } as const;
export type Severity = keyof typeof SEVERITY;

export const CATEGORY = {
  system: { category_uid: 1, category_name: 'System Activity' },
  findings: { category_uid: 2, category_name: 'Findings' },
  network: { category_uid: 4, category_name: 'Network Activity' },
  discovery: { category_uid: 5, category_name: 'Discovery' },
  application: { category_uid: 6, category_name: 'Application Activity' },
} as const;

export interface OcsfClass {
  readonly uid: number;
  readonly name: string;
  readonly category: (typeof CATEGORY)[keyof typeof CATEGORY];
  /** Caption → id; an activity that is not listed becomes 99 under its own word. */
  readonly activities: ReadonlyMap<string, number>;
  readonly profiles: readonly string[];
}

export interface Moment {
  readonly activity: string;
  readonly severity: Severity;
  readonly status?: keyof typeof STATUS;
  /** A stable word for programs, and a sentence for people. */
  readonly statusCode?: string;
  readonly statusDetail?: string | undefined;
  readonly message: string;
  /** Connection or session id. */
  readonly correlation?: string;
}

const OTHER = 99;
const STATUS = { Success: 1, Failure: 2 } as const;
/** `sequence` is an integer_t, 32 bits signed; the uid carries larger numbers. */
const MAX_INTEGER = 2 ** 31 - 1;

export const HOST = ['host'] as const;
export const CONTROLLED = ['host', 'security_control'] as const;
export const PROXIED = ['host', 'security_control', 'network_proxy'] as const;

export const ALLOWED = { action_id: 1, action: 'Allowed', disposition_id: 1, disposition: 'Allowed' } as const;
export const BLOCKED = { action_id: 2, action: 'Denied', disposition_id: 2, disposition: 'Blocked' } as const;

/** The uid of the event with this number. */
export function eventUid({ bootId }: AuditContext, sequence: number): string {
  return `${bootId}:${sequence}`;
}

/** One event: the base first, so that a line starts with when and what. */
export function ocsfEvent(kind: OcsfClass, stamp: Stamp, moment: Moment, attributes: Attributes): OcsfEvent {
  const { uid, name, category, activities, profiles } = kind;
  const { context, time } = stamp;
  const { activity, severity, status, statusCode, statusDetail, message } = moment;
  const activityId = activities.get(activity) ?? OTHER;
  return {
    time,
    timezone_offset: 0,
    class_uid: uid,
    class_name: name,
    ...category,
    activity_id: activityId,
    activity_name: activity,
    type_uid: uid * 100 + activityId,
    type_name: `${name}: ${activityId === OTHER ? 'Other' : activity}`,
    severity_id: SEVERITY[severity],
    severity,
    status_id: status && STATUS[status],
    status,
    status_code: statusCode,
    status_detail: statusDetail,
    message,
    metadata: metadataOf(stamp, profiles, moment.correlation),
    device: deviceOf(context),
    ...attributes,
  };
}

function metadataOf({ context, time, sequence }: Stamp, profiles: readonly string[], correlation?: string) {
  return {
    version: OCSF_VERSION,
    product: productOf(context),
    profiles,
    uid: eventUid(context, sequence),
    sequence: sequence <= MAX_INTEGER ? sequence : undefined,
    correlation_uid: correlation,
    log_name: LOG_NAME,
    log_provider: PRODUCT,
    logged_time: time,
  };
}

export function productOf({ version }: AuditContext): Attributes {
  return { name: PRODUCT, vendor_name: PRODUCT, uid: PRODUCT, version };
}

/** The log itself, as its own events name it. */
export const LOG = { log_name: LOG_NAME, log_provider: PRODUCT, log_type_id: 2, log_type: 'Application' } as const;

function deviceOf({ hostname, sandboxId, osName, kernelRelease }: AuditContext): Attributes {
  return {
    type_id: 6,
    type: 'Virtual',
    hostname,
    uid: sandboxId,
    name: sandboxId,
    os: { name: osName, type_id: 200, type: 'Linux', kernel_release: kernelRelease },
  };
}

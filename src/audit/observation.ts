/** Records of the log, read back for what they say about the network. A log may come from anywhere: every value is checked. */
import { at } from '../lib/json.ts';
import { INSPECTED_PROTOCOLS } from '../policy/document.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import type { Observation, ObservedPath, ObservedRequest } from '../policy/learn/observation.ts';
import { canonicalHost } from '../policy/match/host.ts';
import { parsePath } from '../policy/path.ts';
import type { GraphqlOperation } from '../policy/request.ts';
import type { RequestNames } from '../policy/request-names.ts';
import { CLASSES } from './ocsf/base.ts';

/** `nothing`: about something else. `unusable`: cut when it was recorded, or not of a form that castellan writes. */
export type ReadRecord = Observation | 'nothing' | 'unusable';

/** How servers read a path; undefined where they differ in earnest. */
export type ReadPath = (path: string) => ObservedPath | undefined;

const [OPEN, REFUSE] = [CLASSES.network.uid * 100 + 1, CLASSES.network.uid * 100 + 5];
/** Refusals that a rule would have prevented. */
const CONNECTION_REASONS: readonly unknown[] = [
  'no_policy',
  'host_not_listed',
  'port_not_listed',
  'binary_not_listed',
];
const CUT = '…';

/** Never throws. */
export function readObservation(record: unknown, readPath: ReadPath): ReadRecord {
  const outcome = outcomeOf(record);
  if (outcome === undefined) return 'nothing';
  const destination = at(record, 'dst_endpoint');
  const [name, address, port] = [at(destination, 'hostname'), at(destination, 'ip'), at(destination, 'port')];
  const host = textOf(name ?? address);
  const process = at(record, 'actor', 'process');
  const ancestry = at(process, 'ancestry');
  const executable = programOf(at(process, 'path'));
  const [time, event] = [at(record, 'time'), textOf(at(record, 'metadata', 'uid'))];
  if (
    host === undefined ||
    canonicalHost(host) !== host ||
    !isPort(port) ||
    executable === undefined ||
    typeof time !== 'number' ||
    !Number.isFinite(new Date(time).getTime()) ||
    event === undefined
  )
    return 'unusable';
  const request = isInspected(record) ? requestOf(record, readPath) : undefined;
  if (request === 'unusable') return request;
  const ancestors = Array.isArray(ancestry)
    ? ancestry.flatMap((each) => programOf(at(each, 'path')) ?? [])
    : [];
  return {
    outcome,
    binaries: [executable, ...ancestors],
    host,
    port,
    address: name === undefined ? undefined : textOf(address),
    request,
    time,
    event,
  };
}

function outcomeOf(record: unknown): Observation['outcome'] | undefined {
  const [type, action, reason] = [at(record, 'type_uid'), at(record, 'action_id'), at(record, 'status_code')];
  const isHttp = at(record, 'class_uid') === CLASSES.http.uid;
  if (type === OPEN && action === 1) return at(record, 'unmapped', 'opened') === true ? undefined : 'allowed';
  if (isHttp && action === 3) return reason === 'request_not_listed' ? 'audited' : undefined;
  if (isHttp && action === 1) return isMessage(record) ? 'allowed' : undefined;
  if ((type !== REFUSE && !isHttp) || action !== 2) return undefined;
  const missing =
    CONNECTION_REASONS.includes(reason) || (isInspected(record) && reason === 'request_not_listed');
  return missing ? 'refused' : undefined;
}

/** The end of a request is told too, and is no second one; what is said over a WebSocket is told once. */
function isMessage(record: unknown): boolean {
  const inspected = at(record, 'unmapped', 'inspected');
  return (
    at(inspected, 'protocol') === 'websocket' &&
    (at(inspected, 'operations') !== undefined || at(inspected, 'text') !== undefined)
  );
}

function isInspected(record: unknown): boolean {
  return at(record, 'unmapped', 'inspected') !== undefined;
}

function requestOf(record: unknown, readPath: ReadPath): ObservedRequest | 'unusable' {
  const url = at(record, 'url') ?? at(record, 'http_request', 'url');
  const method = at(record, 'unmapped', 'http_method') ?? at(record, 'http_request', 'http_method');
  const target = textOf(at(url, 'path'));
  const path = target === undefined ? undefined : readPath(target);
  const names = namesOf(at(record, 'unmapped', 'inspected'));
  const isMethod = typeof method === 'string' && /^[A-Za-z0-9!#$%&'+.^_`|~-]{1,64}$/.test(method);
  if (!isMethod || path === undefined || names === undefined) return 'unusable';
  // Whatever says otherwise about a WebSocket is no record of castellan's.
  if (names.protocol === 'websocket' && method !== 'GET') return 'unusable';
  return { method: method.toUpperCase(), path, names };
}

function namesOf(value: unknown): RequestNames | undefined {
  const protocol = INSPECTED_PROTOCOLS.find((known) => known === at(value, 'protocol'));
  const operations = listOf(at(value, 'operations'), operationOf);
  const calls = listOf(at(value, 'calls'), callOf);
  if (protocol === undefined || operations === undefined || calls === undefined) return undefined;
  if (at(value, 'partial') !== undefined) return undefined;
  return { protocol, operations, calls, ...(at(value, 'text') === true && { text: true }) };
}

function operationOf(value: unknown): GraphqlOperation | undefined {
  const type = (['query', 'mutation', 'subscription'] as const).find((known) => known === at(value, 'type'));
  const fields = listOf(at(value, 'fields'), textOf);
  return type && fields && fields.length > 0
    ? { type, name: textOf(at(value, 'name')) ?? '', fields }
    : undefined;
}

function callOf(value: unknown): { readonly method: string; readonly tool?: string } | undefined {
  const method = textOf(at(value, 'method'));
  const tool = at(value, 'tool');
  if (method === undefined || (tool !== undefined && textOf(tool) === undefined)) return undefined;
  return { method, ...(typeof tool === 'string' && { tool }) };
}

/** Empty where there is none; undefined where something in it cannot be read, or may be missing. */
function listOf<T>(value: unknown, read: (item: unknown) => T | undefined): T[] | undefined {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > FACT_LIMITS.names) return undefined;
  const items = value.map(read);
  return items.every((item) => item !== undefined) ? items : undefined;
}

/** Undefined where it is none, or was cut. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && !value.endsWith(CUT) && value.isWellFormed()
    ? value
    : undefined;
}

/** As the kernel names it. */
function programOf(value: unknown): string | undefined {
  const text = textOf(value);
  if (text === undefined) return undefined;
  const parsed = parsePath(text);
  return 'path' in parsed && parsed.path === text ? text : undefined;
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535;
}

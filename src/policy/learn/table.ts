/** Observations, added up: one cell for each program and destination. */
import type { GraphqlOperation } from '../request.ts';
import type { Observation, ObservedRequest } from './observation.ts';

export interface Tally {
  /** Connections, requests and messages. */
  count: number;
  /** Those among them that only audit let pass. */
  audited: number;
  refused: number;
  first: number;
  last: number;
  /** The first few. */
  readonly events: string[];
}

export interface Cell {
  readonly binary: string;
  readonly host: string;
  readonly port: number;
  readonly tally: Tally;
  readonly addresses: Set<string>;
  /** Whether it was used without being looked into. */
  uninspected: boolean;
  /** By method: the paths, in each of their readings. */
  readonly rest: Map<string, Set<string>>;
  /** Some of them have slashes inside a segment. */
  encodedSlash: boolean;
  /** By path. */
  readonly bodies: Map<string, Bodies>;
}

/** What went to one path of a protocol whose bodies or messages are read. */
export interface Bodies {
  readonly protocol: Exclude<ObservedRequest['names']['protocol'], 'rest'>;
  readonly path: string;
  /** Root fields by type of operation. */
  readonly fields: Map<GraphqlOperation['type'], Set<string>>;
  readonly methods: Set<string>;
  readonly tools: Set<string>;
  /** A WebSocket was opened; it carried text. */
  opened: boolean;
  text: boolean;
}

/** Why something was not learned, in words, with how often. */
export type LeftOut = Map<string, number>;

export interface Table {
  readonly cells: ReadonlyMap<string, Cell>;
  readonly leftOut: LeftOut;
  add(observation: Observation): void;
}

/** Examples, not the log itself. */
export const MAX_EVENTS = 3;
/** A policy is read by people; an agent that asks for more of something makes it up. */
const MAX_CELLS = 5000;
const MAX_PATHS = 2000;
const MAX_NAMES = 2000;
/** Of patterns. */
const MAX_PATTERN = 1024;

export function createTable(): Table {
  const cells = new Map<string, Cell>();
  const leftOut: LeftOut = new Map();
  /** By destination and path: all programs have to agree. */
  const protocols = new Map<string, Bodies['protocol']>();
  return {
    cells,
    leftOut,
    add(observation) {
      const { binaries, host, port } = observation;
      const key = JSON.stringify([host, port, binaries[0]]);
      const cell = cells.get(key) ?? emptyCell(observation);
      const problem =
        cells.size >= MAX_CELLS && !cells.has(key)
          ? 'too many destinations'
          : enter(cell, observation, protocols);
      if (problem !== undefined) return void leave(leftOut, problem);
      cells.set(key, cell);
      count(cell.tally, observation);
      if (observation.address !== undefined) cell.addresses.add(observation.address);
    },
  };
}

export function leave(leftOut: LeftOut, why: string): void {
  leftOut.set(why, (leftOut.get(why) ?? 0) + 1);
}

function emptyCell({ binaries: [binary], host, port, time }: Observation): Cell {
  return {
    binary,
    host,
    port,
    tally: { count: 0, audited: 0, refused: 0, first: time, last: time, events: [] },
    addresses: new Set(),
    uninspected: false,
    rest: new Map(),
    encodedSlash: false,
    bodies: new Map(),
  };
}

function count(tally: Tally, { outcome, time, event, request }: Observation): void {
  const { text, operations = [] } = request?.names ?? {};
  const isMessage = request?.names.protocol === 'websocket' && (text || operations.length > 0);
  // A request that audit lets pass is told once more when its origin is reached.
  if (outcome !== 'audited' || isMessage) tally.count += 1;
  if (outcome === 'audited') tally.audited += 1;
  if (outcome === 'refused') tally.refused += 1;
  tally.first = Math.min(tally.first, time);
  tally.last = Math.max(tally.last, time);
  if (tally.events.length < MAX_EVENTS) tally.events.push(event);
}

/** Puts it into the cell, or tells why it cannot be learned. */
function enter(
  cell: Cell,
  { request }: Observation,
  protocols: Map<string, Bodies['protocol']>,
): string | undefined {
  if (request === undefined) {
    cell.uninspected = true;
    return undefined;
  }
  const { method, path, names } = request;
  if (path.readings.some((reading) => reading.length * 2 > MAX_PATTERN))
    return 'paths too long for a pattern';
  if (names.protocol === 'rest') {
    const paths = cell.rest.get(method) ?? new Set();
    if (paths.size >= MAX_PATHS) return `more than ${MAX_PATHS} paths of one method and destination`;
    cell.rest.set(method, paths);
    for (const reading of path.readings) paths.add(reading);
    cell.encodedSlash ||= path.encodedSlash;
    return undefined;
  }
  const [only, ...others] = path.readings;
  if (only === undefined || others.length > 0 || path.encodedSlash)
    return 'paths that servers read in several ways';
  const place = `${destinationKey(cell)} ${only}`;
  if ((protocols.get(place) ?? names.protocol) !== names.protocol)
    return 'requests to a path that was inspected by another protocol before';
  const problem = enterBody(cell, request, names.protocol, only);
  if (problem === undefined) protocols.set(place, names.protocol);
  return problem;
}

/** What all endpoints for one destination have to agree on has this key. */
export function destinationKey({ host, port }: Pick<Cell, 'host' | 'port'>): string {
  return `${host}:${port}`;
}

function enterBody(
  { bodies }: Cell,
  { names }: ObservedRequest,
  protocol: Bodies['protocol'],
  path: string,
): string | undefined {
  const body = bodies.get(path) ?? emptyBodies(protocol, path);
  if (bodies.size >= MAX_PATHS && !bodies.has(path)) return `more than ${MAX_PATHS} paths of one destination`;
  const { operations = [], calls = [] } = names;
  if (body.methods.size + body.tools.size > MAX_NAMES) return `more than ${MAX_NAMES} names for one path`;
  // Where these stand for themselves in a pattern depends on the rule.
  if (calls.some(({ method, tool = '' }) => /[*?[\]{}\\]/.test(method + tool)))
    return 'names with characters of patterns';
  bodies.set(path, body);
  for (const { type, fields } of operations) {
    const known = body.fields.get(type) ?? new Set();
    body.fields.set(type, known);
    if (known.size + fields.length > MAX_NAMES) return `more than ${MAX_NAMES} names for one path`;
    for (const field of fields) known.add(field);
  }
  for (const { method, tool } of calls) {
    if (tool === undefined) body.methods.add(method);
    else body.tools.add(tool);
  }
  body.text ||= names.text === true;
  body.opened ||= protocol === 'websocket';
  return undefined;
}

function emptyBodies(protocol: Bodies['protocol'], path: string): Bodies {
  return {
    protocol,
    path,
    fields: new Map(),
    methods: new Set(),
    tools: new Set(),
    opened: false,
    text: false,
  };
}

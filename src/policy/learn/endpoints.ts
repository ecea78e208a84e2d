/** From a cell to endpoints of the language that allow what it saw, and little more. */
import { classifyAddress } from '../destination.ts';
import { formatBlock, parseBlock } from '../match/address.ts';
import { WEBSOCKET_TEXT } from '../request.ts';
import type { Baseline } from './baseline.ts';
import { escapeGlob, generalisePaths } from './paths.ts';
import { type Bodies, type Cell, destinationKey, type LeftOut, leave } from './table.ts';

/** The keys of an endpoint, in the order they are written in; the port stands apart, so that endpoints can share one. */
export interface LearnedEndpoint {
  readonly host: string;
  readonly protocol?: string;
  readonly path?: string;
  readonly enforcement?: string;
  readonly allowed_ips?: readonly string[];
  readonly rules?: readonly { readonly allow: Readonly<Record<string, unknown>> }[];
  readonly [option: string]: unknown;
}

export interface EndpointOptions {
  /** Paths stay as they were seen. */
  readonly exact: boolean;
  readonly baseline: Baseline | undefined;
  readonly leftOut: LeftOut;
}

type Rules = NonNullable<LearnedEndpoint['rules']>;

const STRICT_TOOL_NAME = /^[A-Za-z0-9_.-]{1,128}$/;

/** `destination` is that of the cell. */
export function endpointsOf(
  cell: Cell,
  destination: Destination,
  options: EndpointOptions,
): LearnedEndpoint[] {
  const { host, port, uninspected } = cell;
  const { baseline } = options;
  const { allowedIps } = destination;
  const addresses = allowedIps.length === 0 ? {} : { allowed_ips: allowedIps };
  const inspected = [
    ...restEndpoints(cell, destination, options),
    ...bodyEndpoints(cell, destination, options),
  ].map(
    ({ rules, ...endpoint }): LearnedEndpoint => ({
      host,
      ...endpoint,
      enforcement: 'enforce',
      ...addresses,
      ...baseline?.inherited(host, port, endpoint),
      rules,
    }),
  );
  if (inspected.length > 0 || !uninspected) return inspected;
  return [{ host, ...addresses, ...baseline?.inherited(host, port, {}) }];
}

interface Draft {
  readonly protocol: string;
  readonly path?: string;
  readonly rules: Rules;
  readonly [option: string]: unknown;
}

function restEndpoints({ rest }: Cell, { encodedSlash }: Destination, { exact }: EndpointOptions): Draft[] {
  if (rest.size === 0) return [];
  const rules = [...rest.keys()].toSorted().flatMap((method) => {
    const paths = rest.get(method) ?? new Set();
    // A rule for GET is one for HEAD.
    const needed = method === 'HEAD' ? [...paths].filter((path) => !rest.get('GET')?.has(path)) : paths;
    const patterns = exact ? [...needed].map(escapeGlob).toSorted() : generalisePaths(needed);
    return patterns.map((path) => ({ allow: { method, path } }));
  });
  return [{ protocol: 'rest', ...(encodedSlash && { allow_encoded_slash: true }), rules }];
}

function bodyEndpoints(
  { bodies }: Cell,
  { graphqlSockets, oddTools }: Destination,
  { exact, leftOut }: EndpointOptions,
): Draft[] {
  const all = [...bodies.values()];
  const texts = all.filter(({ protocol, path }) => protocol === 'websocket' && !graphqlSockets.has(path));
  const sockets = [false, true].flatMap((text) => {
    const paths = texts.filter((each) => each.text === text).map(({ path }) => path);
    return (exact ? paths.map(escapeGlob) : generalisePaths(paths)).map((path) => ({
      protocol: 'websocket',
      path,
      rules: [opening(path), ...(text ? [{ allow: { method: WEBSOCKET_TEXT, path } }] : [])],
    }));
  });
  const others = all
    .filter((each) => !texts.includes(each))
    .flatMap((each): Draft[] => {
      const path = escapeGlob(each.path);
      const rules = [...(each.opened ? [opening(path)] : []), ...operationRules(each), ...callRules(each)];
      if (each.text) leave(leftOut, 'text over a WebSocket that carries GraphQL');
      if (rules.length === 0 || (each.opened && each.fields.size === 0)) {
        leave(leftOut, 'requests that call nothing');
        return [];
      }
      return [
        {
          protocol: each.protocol,
          path,
          ...(oddTools.has(each.path) && { mcp: { strict_tool_names: false } }),
          rules,
        },
      ];
    });
  return [...sockets, ...others].toSorted((a, b) => ((a.path ?? '') < (b.path ?? '') ? -1 : 1));
}

function opening(path: string): Rules[number] {
  return { allow: { method: 'GET', path } };
}

/** Names of operations are the client's own: servers run what the fields say. */
function operationRules({ fields }: Bodies): Rules {
  return [...fields].toSorted().map(([operation_type, names]) => ({
    allow: { operation_type, fields: [...names].toSorted() },
  }));
}

function callRules({ methods, tools }: Bodies): Rules {
  const called = [...tools].toSorted();
  const [only] = called;
  const tool = called.length > 1 ? { any: called } : only;
  return [
    ...[...methods].toSorted().map((method) => ({ allow: { method } })),
    ...(tool === undefined ? [] : [{ allow: { method: 'tools/call', tool } }]),
  ];
}

/** What all endpoints for one destination have to agree on, whoever uses them. */
export interface Destination {
  /** All of them are listed where one is not public. */
  readonly allowedIps: readonly string[];
  readonly encodedSlash: boolean;
  /** Paths of WebSockets that carry GraphQL, and of tools with odd names. */
  readonly graphqlSockets: ReadonlySet<string>;
  readonly oddTools: ReadonlySet<string>;
}

/** By their keys. */
export function destinationsOf(cells: readonly Cell[]): Map<string, Destination> {
  const groups = Map.groupBy(cells, destinationKey);
  return new Map([...groups].map(([key, members]) => [key, destinationOf(members)]));
}

function destinationOf(cells: readonly Cell[]): Destination {
  const addresses = new Set(cells.flatMap((cell) => [...cell.addresses]));
  const isPublic = [...addresses].every((address) => classifyAddress(address).reach === 'public');
  const bodies = cells.flatMap((cell) => [...cell.bodies.values()]);
  const pathsOf = (is: (each: Bodies) => boolean) => new Set(bodies.filter(is).map(({ path }) => path));
  return {
    allowedIps: isPublic ? [] : [...addresses].flatMap(singleBlock).toSorted(),
    encodedSlash: cells.some(({ encodedSlash }) => encodedSlash),
    graphqlSockets: pathsOf(({ protocol, fields }) => protocol === 'websocket' && fields.size > 0),
    oddTools: pathsOf(({ tools }) => [...tools].some((tool) => !STRICT_TOOL_NAME.test(tool))),
  };
}

function singleBlock(address: string): string[] {
  const block = parseBlock(address);
  return block === undefined || classifyAddress(address).reach === 'blocked' ? [] : [formatBlock(block)];
}

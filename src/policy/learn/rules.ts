/**
 * From cells to rules. A rule means all of its endpoints for all of its programs, so that only endpoints that were seen with
 * exactly the same programs may stand in one.
 */
import { destinationsOf, type EndpointOptions, endpointsOf, type LearnedEndpoint } from './endpoints.ts';
import { type Cell, destinationKey, MAX_EVENTS, type Tally } from './table.ts';

export interface LearnedRule {
  readonly name: string;
  readonly endpoints: readonly PlacedEndpoint[];
  /** Sorted paths of programs. */
  readonly binaries: readonly string[];
}

export interface PlacedEndpoint {
  readonly endpoint: LearnedEndpoint;
  readonly ports: readonly number[];
  readonly tally: Tally;
}

const MAX_NAME = 56;

/** In the order of their names. */
export function learnRules(cells: readonly Cell[], options: EndpointOptions): LearnedRule[] {
  const destinations = destinationsOf(cells);
  const uses = cells.flatMap((cell) => {
    const destination = destinations.get(destinationKey(cell));
    const endpoints = destination === undefined ? [] : endpointsOf(cell, destination, options);
    return endpoints.map((endpoint) => ({ cell, endpoint, spec: JSON.stringify(endpoint) }));
  });
  const single = [...Map.groupBy(uses, ({ spec, cell }) => `${cell.port} ${spec}`).values()].map((alike) => ({
    alike,
    programs: JSON.stringify([...new Set(alike.map(({ cell }) => cell.binary))].toSorted()),
  }));
  const placed = [
    ...Map.groupBy(single, ({ alike, programs }) => programs + alike[0]?.spec).values(),
  ].flatMap((shared) => placeEndpoint(shared));
  const taken = new Set(options.baseline?.names);
  return [...Map.groupBy(placed, ({ programs }) => programs)]
    .map(([programs, members]) => ({
      binaries: JSON.parse(programs) as string[],
      endpoints: members.toSorted(byDestination),
    }))
    .toSorted(
      (a, b) => compare(nameOf(a.endpoints), nameOf(b.endpoints)) || compare(a.binaries[0], b.binaries[0]),
    )
    .map((rule) => ({ ...rule, name: freeName(nameOf(rule.endpoints), taken) }));
}

interface Use {
  readonly cell: Cell;
  readonly endpoint: LearnedEndpoint;
}

/** One endpoint for all ports on which it is the same for the same programs. */
function placeEndpoint(
  shared: readonly { readonly alike: readonly Use[]; readonly programs: string }[],
): (PlacedEndpoint & { readonly programs: string })[] {
  const uses = shared.flatMap(({ alike }) => alike);
  const [first] = uses;
  const [{ programs } = { programs: '[]' }] = shared;
  if (first === undefined) return [];
  const ports = [...new Set(uses.map(({ cell }) => cell.port))].toSorted((a, b) => a - b);
  return [{ endpoint: first.endpoint, ports, programs, tally: sum(uses.map(({ cell }) => cell.tally)) }];
}

function sum(tallies: readonly Tally[]): Tally {
  const total = (of: (tally: Tally) => number) => tallies.reduce((all, tally) => all + of(tally), 0);
  return {
    count: total(({ count }) => count),
    audited: total(({ audited }) => audited),
    refused: total(({ refused }) => refused),
    first: Math.min(...tallies.map(({ first }) => first)),
    last: Math.max(...tallies.map(({ last }) => last)),
    events: tallies.flatMap(({ events }) => events).slice(0, MAX_EVENTS),
  };
}

function byDestination(a: PlacedEndpoint, b: PlacedEndpoint): number {
  return (
    compare(a.endpoint.host, b.endpoint.host) ||
    (a.ports[0] ?? 0) - (b.ports[0] ?? 0) ||
    compare(a.endpoint.path, b.endpoint.path)
  );
}

function compare(a = '', b = ''): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** By its first host. */
function nameOf([first]: readonly PlacedEndpoint[]): string {
  return (first?.endpoint.host ?? '').replaceAll(/[^A-Za-z0-9]/g, '_').slice(0, MAX_NAME);
}

function freeName(wanted: string, taken: Set<string>): string {
  let name = wanted;
  for (let number = 2; taken.has(name); number += 1) name = `${wanted}_${number}`;
  taken.add(name);
  return name;
}

/** Profiles of V8, folded into one tree of functions with the time spent below each. */
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { basename } from 'node:path';

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
      readonly columnNumber: number;
    };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

export interface Frame {
  readonly name: string;
  /** Milliseconds, those of the frames below included. */
  total: number;
  self: number;
  readonly below: Map<string, Frame>;
}

/** What is no work. */
const WAITING = ['(idle)', '(root)'];

export function newFrame(name: string): Frame {
  return { name, total: 0, self: 0, below: new Map() };
}

/** Adds a profile to the tree; `share` is the part of its time that counts. */
export function fold(root: Frame, profile: CpuProfile, nameOf: FrameName, share: number): void {
  const parents = new Map(
    profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)),
  );
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  profile.samples.forEach((sample, index) => {
    const time = ((profile.timeDeltas[index + 1] ?? 0) / 1000) * share;
    const stack: string[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id))
      stack.unshift(names.get(id) ?? '?');
    if (WAITING.includes(stack.at(-1) ?? '')) return;
    let frame = root;
    frame.total += time;
    for (const name of stack.slice(1)) {
      const next = frame.below.get(name) ?? newFrame(name);
      frame.below.set(name, next);
      next.total += time;
      frame = next;
    }
    frame.self += time;
  });
}

export type FrameName = (frame: CpuProfile['nodes'][number]['callFrame']) => string;

/** Names of functions as the sources have them, by the maps of a bundle. */
export function sourceNames(maps: string): FrameName {
  const opened = new Map<string, SourceMap>();
  const mapOf = (file: string): SourceMap => {
    const known = opened.get(file);
    if (known !== undefined) return known;
    const map = new SourceMap(JSON.parse(readFileSync(`${maps}/${file}.map`, 'utf8')));
    opened.set(file, map);
    return map;
  };
  return ({ functionName, url, lineNumber, columnNumber }) => {
    const file = /\/app\/((?:process|network)\.cjs)$/.exec(url)?.[1];
    const name = functionName || '(anonymous)';
    if (url.startsWith('node:')) return `${name} ${url.replace('internal/', '')}`;
    if (file === undefined) return `${name} ${basename(url)}`.trim();
    const entry = mapOf(file).findEntry(lineNumber, columnNumber);
    if (!('originalSource' in entry)) return `${name} ${file}`;
    const source = entry.originalSource.replace(/^(\.\.\/)+/, '').replace(/^node_modules\//, '');
    const original = 'name' in entry && typeof entry.name === 'string' ? entry.name : functionName;
    return `${original} ${source}:${entry.originalLine + 1}`.trim();
  };
}

/** By the time spent in them and below, the widest first. Each function counts once, where it is outermost. */
export function widest(root: Frame): readonly { readonly name: string; total: number; self: number }[] {
  const found = new Map<string, { name: string; total: number; self: number }>();
  const walk = (frame: Frame, above: ReadonlySet<string>): void => {
    const sum = found.get(frame.name) ?? { name: frame.name, total: 0, self: 0 };
    found.set(frame.name, sum);
    sum.self += frame.self;
    if (!above.has(frame.name)) sum.total += frame.total;
    for (const next of frame.below.values()) walk(next, new Set([...above, frame.name]));
  };
  for (const frame of root.below.values()) walk(frame, new Set());
  return [...found.values()].sort((a, b) => b.total - a.total);
}

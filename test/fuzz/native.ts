/**
 * The parsers in C, each in a harness of test/fuzz/native: built by clang with libFuzzer to look for inputs, and by the system's
 * compiler to replay them; both with AddressSanitizer and UndefinedBehaviorSanitizer.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NATIVE_SEEDS } from './native-seeds.ts';
import type { Report } from './worker.ts';

const ROOT = join(import.meta.dirname, '../..');
const HARNESSES = join(ROOT, 'test/fuzz/native');
const BUILD = join(ROOT, 'build/fuzz-native');
/** What Debian calls it; scripts/setup.mjs installs it for this goal. */
const CLANG = 'clang-14';
const MAX_INPUT_BYTES = 100_000;
/** One input; the harnesses need microseconds. */
const INPUT_TIMEOUT_S = 10;
/** To start, and to write what was found. */
const EXTRA_MS = 60_000;

export const NATIVE_TARGETS: readonly string[] = Object.keys(NATIVE_SEEDS);

/** @throws Error with what the compiler said */
function build(name: string, compiler: string, sanitizers: string, sources: readonly string[]): string {
  mkdirSync(BUILD, { recursive: true });
  const program = join(BUILD, `${name}-${compiler}`);
  const flags = [
    '-std=gnu11',
    '-g',
    '-O1',
    '-w',
    '-no-pie',
    '-fno-sanitize-recover=all',
    `-fsanitize=${sanitizers}`,
  ];
  const places = [join(ROOT, 'build/obj'), join(dirname(dirname(process.execPath)), 'include/node')];
  // Of what a harness includes it calls a part; the rest may ask for functions that are not there.
  const link = ['-Wl,--unresolved-symbols=ignore-all', '-o', program];
  const files = [name, ...sources].map((each) => join(HARNESSES, `${each}.c`));
  const { status, stderr, error } = spawnSync(
    compiler,
    [...flags, ...places.map((each) => `-I${each}`), ...files, ...link],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`${compiler}: ${error?.message ?? stderr}`);
  return program;
}

/** Runs the harness over files; false, and what it said on standard error, where a property does not hold. */
export function replayNative(name: string, files: readonly string[]): boolean {
  const program = build(name, 'cc', 'address,undefined', ['replay']);
  return spawnSync(program, files, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}

/** The same over the seeds. */
export function replayNativeSeeds(name: string, more: readonly string[]): boolean {
  const directory = writeSeeds(name);
  try {
    const seeds = readdirSync(directory).map((file) => join(directory, file));
    return replayNative(name, [...seeds, ...more]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function writeSeeds(name: string): string {
  mkdirSync(BUILD, { recursive: true });
  const directory = mkdtempSync(join(BUILD, `${name}-corpus-`));
  for (const [index, seed] of (NATIVE_SEEDS[name] ?? []).entries())
    writeFileSync(join(directory, String(index)), seed);
  return directory;
}

/** Fuzzes one harness with libFuzzer. */
export function fuzzNative(name: string, seed: number, maxMs: number): Report {
  const program = build(name, CLANG, 'fuzzer,address,undefined', []);
  const corpus = writeSeeds(name);
  const crash = join(BUILD, `${name}-crash`);
  rmSync(crash, { force: true });
  const options = {
    seed: (seed >>> 0) + 1, // 0 means a seed of its own
    max_total_time: Math.max(1, Math.round(maxMs / 1000)),
    max_len: MAX_INPUT_BYTES,
    timeout: INPUT_TIMEOUT_S,
    print_final_stats: 1,
    exact_artifact_path: crash,
  };
  const words = Object.entries(options).map(([key, value]) => `-${key}=${value}`);
  const { status, stderr } = spawnSync(program, [...words, corpus], {
    encoding: 'utf8',
    timeout: Math.round(maxMs) + EXTRA_MS,
    maxBuffer: 64 * 1024 * 1024,
  });
  const found = readdirSync(corpus).length;
  rmSync(corpus, { recursive: true });
  const inputs = Number(/stat::number_of_executed_units: (\d+)/.exec(stderr)?.[1] ?? 0);
  if (status === 0) return { inputs, corpus: found, failure: undefined };
  return { inputs, corpus: found, failure: { input: readOr(crash), message: complaintIn(stderr) } };
}

/** What the sanitizers or the harness say, from among all that libFuzzer tells. */
function complaintIn(text: string): string {
  const found = /^.*(?:property does not hold|ERROR: |runtime error:)[\s\S]{0,2000}/m.exec(text)?.[0];
  return found ?? text.slice(-2000);
}

/** The input that libFuzzer left; empty where it came to none. */
function readOr(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch {
    return new Uint8Array(0);
  }
}

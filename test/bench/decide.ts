/** What a decision costs with ten rules and with ten thousand, of hosts and of paths. */
import { compilePolicy } from '../../src/policy/compile.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { compare, printTable } from './harness.ts';

/** Enough that a clock sees them. */
const DECISIONS = 20_000;
const SIZES = [10, 10_000] as const;

/** Every rule names a host of its own. */
function byHost(size: number): () => void {
  const rules = Array.from(
    { length: size },
    (_, index) =>
      `  r${index}: {endpoints: [{host: h${index}.example.org, port: 443}], binaries: [{path: /usr/bin/curl}]}\n`,
  );
  const decider = compilePolicy(
    parsePolicy(`version: 1\nnetwork_policies:\n${rules.join('')}`, 'bench').network,
  );
  return () => {
    for (let index = 0; index < DECISIONS; index++)
      decider.decide({ host: 'h7.example.org', port: 443, binaries: ['/usr/bin/curl'] });
  };
}

/** One endpoint whose rules all name paths of their own. */
function byPath(size: number): () => void {
  const rules = Array.from({ length: size }, (_, index) => `{allow: {method: GET, path: "/p${index}/**"}}`);
  const { network } = parsePolicy(
    `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.example.org, port: 443, protocol: rest, rules: [${rules.join(', ')}]}], binaries: [{path: /usr/bin/curl}]}}\n`,
    'bench',
  );
  const decider = compilePolicy(network);
  const path = { allow: ['/p7/x'], deny: ['/p7/x'] };
  return () => {
    for (let index = 0; index < DECISIONS; index++) {
      const verdict = decider.decide({ host: 'a.example.org', port: 443, binaries: ['/usr/bin/curl'] });
      const route = verdict.allow ? verdict.requests?.route(path) : undefined;
      if (route !== undefined && 'judge' in route)
        route.judge({ method: 'GET', query: [], body: { kind: 'uninspected' } });
    }
  };
}

/** Prints a table for each. */
export async function benchDecide(rounds: number): Promise<void> {
  for (const [title, make] of [
    ['connections, each rule with a host of its own', byHost],
    ['requests, each rule with a path of its own', byPath],
  ] as const) {
    console.log(`\n${DECISIONS} decisions: ${title}`);
    const contenders = SIZES.map((size) => {
      const work = make(size);
      return { name: `${size} rules`, once: async () => work() };
    });
    printTable(await compare(contenders, rounds));
  }
}

import { readObservation } from '../audit/observation.ts';
import { verifyChain } from '../audit/verify.ts';
import { readTarget } from '../egress/inspect/path.ts';
import { escapeText } from '../lib/escape.ts';
import { parsedJson } from '../lib/json.ts';
import { createLearner, type Learner } from '../policy/learn/learn.ts';
import type { ObservedPath } from '../policy/learn/observation.ts';
import { loadPolicy } from '../start/policy.ts';
import { logLines } from './log-lines.ts';
import type { Verb } from './verb.ts';

/** `castellan policy learn LOG…`: a policy that allows what the logs tell. 1 where a log is not whole and unaltered. */
export const verb: Verb = async ({ options, operands }, { stdout, stderr }) => {
  const base = options.get('base')?.[0];
  const learner = createLearner({
    base: base === undefined ? undefined : (await loadPolicy(base)).network,
    exact: options.has('exact'),
    includeDenied: options.has('include-denied'),
  });
  for (const log of operands) {
    const learned = learnedOnTheWay(logLines(log), learner);
    if (options.has('unverified')) {
      for await (const _ of learned);
      continue;
    }
    const {
      ok,
      problems: [problem],
    } = await verifyChain(learned);
    if (ok) continue;
    stderr.write(
      `${escapeText(log)}: NOT VERIFIED: line ${problem?.line}: ${problem?.kind}: ${problem?.detail}; a policy learned from it could be anybody’s. --unverified learns all the same\n`,
    );
    return 1;
  }
  stdout.write(learner.finish());
  return 0;
};

/** Read once, for both. */
async function* learnedOnTheWay(lines: AsyncIterable<string>, learner: Learner): AsyncGenerator<string> {
  for await (const line of lines) {
    yield line;
    // What is no JSON the verification tells.
    const observation = readObservation(parsedJson(line), readPath);
    if (observation === 'unusable') learner.leaveOut('records that were cut, or are of no known form');
    else if (observation !== 'nothing') learner.add(observation);
  }
}

function readPath(path: string): ObservedPath | undefined {
  const target = readTarget(path, { encodedSlash: true });
  return target.ok ? { readings: target.path.allow, encodedSlash: target.hasEncodedSlash } : undefined;
}

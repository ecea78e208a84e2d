/** The counts of tokens that providers tell in their answers. */
import { at, parsedJson } from '../../lib/json.ts';

export interface ModelUsage {
  inputTokens?: number;
  outputTokens?: number;
}

/** Notes what one JSON text of an answer tells: a whole answer, or one event of a stream. What is no count is passed over. */
export function noteUsage(text: string, usage: ModelUsage): void {
  const value = parsedJson(text);
  // OpenAI's own place; that of an answer inside an event (Responses API); that of the first event of a message (Anthropic).
  for (const counts of [at(value, 'usage'), at(value, 'response', 'usage'), at(value, 'message', 'usage')]) {
    const input = count(counts, 'input_tokens') ?? count(counts, 'prompt_tokens');
    const output = count(counts, 'output_tokens') ?? count(counts, 'completion_tokens');
    if (input !== undefined) usage.inputTokens = input;
    if (output !== undefined) usage.outputTokens = output;
  }
}

/** OCSF's integer_t at most. */
function count(counts: unknown, name: string): number | undefined {
  const value = at(counts, name);
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31
    ? (value as number)
    : undefined;
}

/** nft(8) in this process's own network namespace. */
import { spawn } from 'node:child_process';
import { CastellanError, errnoOf } from '../errors.ts';

/** nft needs some 20 ms; a machine this slow cannot run an agent. */
const TOOL_TIMEOUT_MS = 15_000;
/** A table of ours prints as a few kilobytes; of a complaint, the beginning counts. */
const MAX_OUTPUT_BYTES = 256 * 1024;

export interface NftResult {
  /** Null when it was ended by a signal. */
  readonly exitCode: number | null;
  readonly output: string;
  readonly complaint: string;
}

/**
 * Runs `nft` (an absolute path) with `input` on its standard input, and waits for its end.
 * @throws CastellanError `namespace_failed` when it cannot be started, or does not end
 */
export async function runNft(nft: string, args: readonly string[], input = ''): Promise<NftResult> {
  const child = spawn(nft, args, {
    env: {},
    cwd: '/',
    stdio: 'pipe',
    signal: AbortSignal.timeout(TOOL_TIMEOUT_MS),
    killSignal: 'SIGKILL',
  });
  const { promise, resolve, reject } = Promise.withResolvers<NftResult>();
  let [output, complaint] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(0, MAX_OUTPUT_BYTES);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, MAX_OUTPUT_BYTES);
  });
  child.on('error', (error) => {
    const errno = error.name === 'AbortError' ? 'ETIMEDOUT' : errnoOf(error);
    const message = `${nft} could not do its work${errno === undefined ? '' : ` (${errno})`}`;
    const facts = { step: 'fence/nft', object: nft, ...(errno && { errno }), cause: error };
    reject(new CastellanError('namespace_failed', message, facts));
  });
  child.on('close', (exitCode) => resolve({ exitCode, output, complaint }));
  // It may end before it has read everything, and says why by itself.
  child.stdin.on('error', () => undefined).end(input);
  return promise;
}

/** argv → verb → exit code. The only toucher of process.argv, process.env, signals and the exit code. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { VerbName } from './cli/definition.ts';
import { helpText } from './cli/help.ts';
import type { ParsedCommand } from './cli/parse.ts';
import { parseArguments } from './cli/parse.ts';
import type { Verb, VerbContext } from './cli/verb.ts';
import { FORWARDED_SIGNALS, type SignalName, type Surroundings } from './config/surroundings.ts';
import { readVariable } from './config/variables.ts';
import { CastellanError } from './errors.ts';
import { escapeText } from './lib/escape.ts';
import { VERSION } from './version.ts';

/** Loaded when called for: a verb pays only for what it imports. */
const VERB_MODULES: Readonly<Record<VerbName, () => Promise<{ readonly verb: Verb }>>> = {
  run: () => import('./cli/run.ts'),
  validate: () => import('./cli/validate.ts'),
  ssh: () => import('./cli/ssh.ts'),
  attach: () => import('./cli/attach.ts'),
  list: () => import('./cli/list.ts'),
  doctor: () => import('./cli/doctor.ts'),
  policy: () => import('./cli/policy.ts'),
  'policy lint': () => import('./cli/policy-lint.ts'),
  'policy explain': () => import('./cli/policy-explain.ts'),
  'policy test': () => import('./cli/policy-test.ts'),
  'policy schema': () => import('./cli/policy-schema.ts'),
  'policy diff': () => import('./cli/policy-diff.ts'),
  'policy learn': () => import('./cli/policy-learn.ts'),
  'policy proposals': () => import('./cli/policy-proposals.ts'),
  credentials: () => import('./cli/credentials.ts'),
  audit: () => import('./cli/audit.ts'),
  'kubernetes render': () => import('./cli/kubernetes-render.ts'),
  'kubernetes validate': () => import('./cli/kubernetes-validate.ts'),
  'copy-self': () => import('./cli/copy-self.ts'),
  'network-init': () => import('./cli/network-init.ts'),
  seed: () => import('./cli/seed.ts'),
  probe: () => import('./cli/probe.ts'),
  'kubernetes webhook': () => import('./cli/kubernetes-webhook.ts'),
  completion: () => import('./cli/completion.ts'),
  man: () => import('./cli/man.ts'),
  'ssh-proxy': () => import('./cli/ssh-proxy.ts'),
  'network-role': () => import('./cli/network-role.ts'),
};

async function main(): Promise<number> {
  const words = await ownWords(process.argv.slice(2));
  if (words === undefined) return 0;
  const parsed = parseArguments(words);
  if (parsed.kind === 'help') return print(helpText(parsed.verb));
  if (parsed.kind === 'version') return print(`castellan ${VERSION}\n`);
  return runVerb(parsed.command);
}

/**
 * Under the name openshell-sandbox, others say what is to be done: native/launch/init.c puts it in front of their words. Undefined where they
 * have been answered.
 */
async function ownWords(words: readonly string[]): Promise<readonly string[] | undefined> {
  const [first, ...rest] = words;
  if (first !== 'openshell-sandbox') return words;
  const { castellanWords } = await import('./cli/openshell-sandbox.ts');
  return castellanWords(rest, process);
}

async function runVerb(command: ParsedCommand): Promise<number> {
  const { verb } = await VERB_MODULES[command.verb]();
  const context: VerbContext = {
    surroundings: surroundings(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    onSignal(listener) {
      const handlers = FORWARDED_SIGNALS.map((name): [SignalName, () => void] => [
        name,
        () => listener(name),
      ]);
      for (const [name, handler] of handlers) process.on(name, handler);
      return {
        [Symbol.dispose]() {
          for (const [name, handler] of handlers) process.off(name, handler);
        },
      };
    },
  };
  return verb(command, context);
}

function surroundings(): Surroundings {
  return Object.freeze({
    uid: process.geteuid?.() ?? -1,
    gid: process.getegid?.() ?? -1,
    groups: process.getgroups?.() ?? [],
    pid: process.pid,
    parentPid: process.ppid,
    initPid: readVariable(process.env, 'CASTELLAN_INIT') === String(process.ppid) ? process.ppid : undefined,
    workingDirectory: process.cwd(),
    environment: process.env,
    installRoot: dirname(dirname(fileURLToPath(import.meta.url))),
    node: process.execPath,
    stdinIsTerminal: process.stdin.isTTY === true,
    stdoutIsTerminal: process.stdout.isTTY === true,
    stderrIsTerminal: process.stderr.isTTY === true,
  });
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function describe(error: unknown): { readonly line: string; readonly exitCode: number } {
  if (!(error instanceof CastellanError)) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return describe(new CastellanError('internal', detail, { step: 'main', cause: error }));
  }
  const where = error.errno === undefined ? error.step : `${error.step}: ${error.errno}`;
  const line = `castellan: ${escapeText(error.message, 2000)} [${error.code}, ${where}]; ${error.remedy}\n`;
  return { line, exitCode: error.exitCode };
}

/** Whatever was made has been taken back by now. To let Node take its own heap apart as well would cost milliseconds. */
function leave(exitCode: number): void {
  process.exitCode = exitCode;
  // A slow reader has not taken all of it yet.
  if (process.stdout.writableLength + process.stderr.writableLength === 0) process.exit();
}

// Not awaited at the top: a bundle's code is no module.
main().then(leave, (error) => {
  const { line, exitCode } = describe(error);
  process.stderr.write(line);
  leave(exitCode);
});

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { runBase, type VerbArguments } from '../config/config.ts';
import { installPaths } from '../config/install.ts';
import { readVariable } from '../config/variables.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { exitStatus } from '../launch/process.ts';
import { type SshArguments, sshArguments } from '../session/ssh/client-arguments.ts';
import { chooseRun } from '../start/known-run.ts';
import { knownHostsIn, knownRuns, sshSocketIn } from '../start/run-directory.ts';
import { isStopSignal } from '../start/signals.ts';
import type { Verb, VerbContext } from './verb.ts';

const SSH_CLIENT = '/usr/bin/ssh';

/** `castellan ssh`: the system's OpenSSH client, or where it cannot be castellan's own, connected to a sandbox's socket. */
export const verb: Verb = (command, context) =>
  runSsh(command, context, {
    tty: wantsTerminal(command),
    forwards: forwardsOf(command),
    command: command.operands,
  });

/** Runs the client in the chosen sandbox; its end is the verb's. */
export async function runSsh(
  { options }: VerbArguments,
  { surroundings, onSignal, stdin, stdout, stderr }: VerbContext,
  request: Pick<SshArguments, 'tty' | 'forwards' | 'command' | 'subsystem'>,
): Promise<number> {
  const run = chooseRun(await knownRuns(runBase(surroundings)), options.get('sandbox')?.[0], 'ready');
  if (!existsSync(sshSocketIn(run.path)))
    throw new CastellanError('no_sandbox', `${run.state.name} is a sidecar: its command runs elsewhere`, {
      step: 'ssh',
      object: run.state.name,
      remedy: 'do this in the agent’s container, as the user it runs as',
    });
  const target = {
    user: run.state.user,
    socketPath: sshSocketIn(run.path),
    knownHosts: knownHostsIn(run.path),
    ...request,
  };
  if (isServedByOpenSsh()) {
    const { castellan } = installPaths(surroundings);
    return await runClient(sshArguments({ ...target, name: run.state.name, castellan }), onSignal);
  }
  if (request.forwards !== undefined && request.forwards.length > 0)
    throw new CastellanError('install_incomplete', 'forwarding takes OpenSSH’s client', {
      step: 'ssh',
      object: SSH_CLIENT,
      remedy: 'install openssh-client, and give the uid an account',
    });
  const { runOwnClient } = await import('../session/ssh/own-client.ts');
  const stop = new AbortController();
  using _stopping = onSignal((name) => {
    if (isStopSignal(name) || name === 'SIGHUP') stop.abort();
  });
  const terminalName = readVariable(surroundings.environment, 'TERM');
  return await runOwnClient({ ...target, terminalName }, { stdin, stdout, stderr }, stop.signal);
}

/** OpenSSH's client refuses callers without an account, as a platform's uid is in most images. */
function isServedByOpenSsh(): boolean {
  if (!existsSync(SSH_CLIENT)) return false;
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

function wantsTerminal(command: VerbArguments): boolean | undefined {
  return command.options.has('tty') ? true : undefined;
}

const FORWARDS = { 'local-forward': '-L', 'dynamic-forward': '-D', 'stdio-forward': '-W' } as const;

/** In the client's own words. */
function forwardsOf({ options }: VerbArguments): string[] {
  const wanted = Object.entries(FORWARDS).flatMap(([name, flag]) =>
    (options.get(name) ?? []).flatMap((value) => [flag, value]),
  );
  return options.has('no-command') ? ['-N', ...wanted] : wanted;
}

async function runClient(argv: readonly string[], onSignal: VerbContext['onSignal']): Promise<number> {
  const child = spawn(SSH_CLIENT, argv, { stdio: 'inherit' });
  // What a terminal sends, the client gets too, and ends by it or not. TERM comes to us alone.
  using _ = onSignal((name) => {
    if (name === 'SIGTERM') child.kill(name);
  });
  return await new Promise((resolve, reject) => {
    child.on('error', (error) => {
      const errno = errnoOf(error);
      const remedy = 'install openssh-client';
      reject(
        new CastellanError('install_incomplete', `${SSH_CLIENT} cannot be run`, {
          step: 'ssh',
          object: SSH_CLIENT,
          remedy,
          ...(errno && { errno }),
        }),
      );
    });
    child.on('exit', (code, signal) => resolve(exitStatus(code, signal).exitCode));
  });
}

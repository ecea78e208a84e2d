import type { RunConfig } from '../config/config.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import { loginShell } from '../session/login-shell.ts';

/** The command of the run, else the login shell of whom it runs as. @throws CastellanError `command_not_found` */
export async function mainCommand(
  { command }: RunConfig,
  { shell }: SandboxIdentity,
): Promise<readonly string[]> {
  return command ?? [await loginShell(shell), '-l'];
}

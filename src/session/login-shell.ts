import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { CastellanError } from '../errors.ts';

const FALLBACKS = ['/bin/bash', '/bin/sh'] as const;

/** Accounts made for services have these; a sandbox is meant to be entered. */
const NOT_A_SHELL = /\/(nologin|false|true)$/;

/** Whether an account's shell field names something that can be logged in with; whoever reached the sandbox is meant to be in. */
export function isLoginShell(path: string): boolean {
  return path.startsWith('/') && !NOT_A_SHELL.test(path);
}

/**
 * The account's shell if this image has it, else bash, else sh.
 * @throws CastellanError `command_not_found` in an image without any
 */
export async function loginShell(wanted: string): Promise<string> {
  const candidates = isLoginShell(wanted) ? [wanted, ...FALLBACKS] : FALLBACKS;
  for (const path of candidates) if (await isProgram(path)) return path;
  throw new CastellanError('command_not_found', 'the image has no shell', {
    step: 'session',
    object: wanted,
  });
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

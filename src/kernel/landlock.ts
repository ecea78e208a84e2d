/** What the running kernel offers of landlock(7), and castellan's own use of it. */
import { errnoOf } from '../errors.ts';
import { posix } from './posix.ts';

export type LandlockSupport =
  | { readonly abi: number; readonly reason?: undefined }
  /** Why there is none; the remedies differ. */
  | { readonly abi: 0; readonly reason: string };

/** The first ABI with scopes for signals. */
const SIGNAL_SCOPE_ABI = 6;

const ABSENCE: Readonly<Record<string, string>> = {
  ENOSYS: 'this kernel has no Landlock',
  EOPNOTSUPP: 'Landlock is built into this kernel but not enabled (lsm= on its command line)',
  EPERM: 'the seccomp filter that castellan was started under refuses Landlock',
};

export function landlockSupport(): LandlockSupport {
  try {
    return { abi: posix().landlockAbi() };
  } catch (error) {
    const errno = errnoOf(error) ?? 'unknown';
    return { abi: 0, reason: ABSENCE[errno] ?? `Landlock cannot be used: ${errno}` };
  }
}

/**
 * Makes everything that this thread starts from now on killable in one step, which no fork outruns. Gives the step, or
 * undefined where the kernel is too old. This thread itself can then signal nothing else.
 */
export function openKillScope(abi: number): (() => void) | undefined {
  if (abi < SIGNAL_SCOPE_ABI) return undefined;
  posix().scopeSignals();
  return () => posix().killScope();
}

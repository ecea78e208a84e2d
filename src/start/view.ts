import { CastellanError } from '../errors.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell } from '../launch/cell.ts';
import { confineView } from '../launch/confine.ts';
import type { Launcher } from '../launch/launch.ts';

/**
 * The cell with its mounts made once, in a namespace that every launch enters: a Landlock domain that scopes signals refuses
 * mounts to all who are in it. As it was where that cannot be, and each launch mounts: in a chroot the namespace's root is not ours, and
 * entering one takes CAP_SYS_CHROOT, which some engines are told to take away.
 */
export async function settleView(
  cell: Cell,
  namespace: SealedNamespace | undefined,
  launcher: Launcher,
): Promise<Cell> {
  if (namespace === undefined || cell.mounts.length === 0) return cell;
  const { mountDescriptor: view } = namespace;
  try {
    const { exited, io } = await launcher.launch(confineView(cell, view), { kind: 'pipes' });
    if (io.kind === 'pipes') {
      io.stdout.resume();
      io.stderr.resume();
    }
    await exited;
    return { ...cell, view, mounts: [] };
  } catch (error) {
    if (error instanceof CastellanError && ['ESTALE', 'EPERM'].includes(error.errno ?? '')) return cell;
    throw error;
  }
}

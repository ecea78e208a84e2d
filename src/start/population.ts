import type { Report } from '../audit/event.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { SandboxCgroup } from '../kernel/cgroup.ts';
import { openKillScope } from '../kernel/landlock.ts';
import type { Population } from '../kernel/population.ts';
import { descendantsOf, lacksKill, processesInNamespace } from '../kernel/processes.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell } from '../launch/cell.ts';
import { reportLacks } from './privileges.ts';

export interface PopulationSources {
  readonly surroundings: Surroundings;
  readonly cgroup: SandboxCgroup | undefined;
  readonly namespace: SealedNamespace | undefined;
  readonly cell: Cell;
  /** Castellan's own network role, which is nobody of the sandbox. */
  readonly rolePid: number | undefined;
  readonly landlockAbi: number;
  readonly report: Report;
}

/**
 * Settles, before anything untrusted runs, how all of it will be found and ended: by its cgroup; else by its network
 * namespace, which nobody can leave; else by descent, with the init adopting whoever forks away. What has been started before
 * (the network role) does not belong to it.
 */
export function openPopulation(sources: PopulationSources): Population {
  const population = choose(sources);
  sources.report({ kind: 'control-applied', control: 'teardown', detail: population.means });
  if (population.killAll === undefined && sources.surroundings.uid === 0)
    reportLacks('teardown', sources.report);
  return population;
}

function choose({
  surroundings,
  cgroup,
  namespace,
  cell,
  rolePid,
  landlockAbi,
}: PopulationSources): Population {
  if (cgroup !== undefined)
    return { means: `cgroup ${cgroup.path}`, list: () => cgroup.list(), killAll: () => cgroup.kill() };
  // Who is in the scope cannot mount: where every launch still has to, there is none. Nor is there where one signal cannot reach all.
  const killAll = cell.mounts.length > 0 || lacksKill() ? undefined : openKillScope(landlockAbi);
  const how = killAll === undefined ? 'killed in rounds' : 'killed by their signal scope';
  // Where the policy lets programs make namespaces, not being in ours says nothing.
  if (namespace !== undefined && !cell.seccompRelax.includes('namespaces'))
    return {
      means: `processes of net:[${namespace.inode}], ${how}`,
      list: () => processesInNamespace(namespace.inode),
      killAll,
    };
  const { pid, initPid } = surroundings;
  return {
    means: `descendants of process ${initPid ?? pid}, ${how}`,
    list: () => descendantsOf(initPid ?? pid, rolePid === undefined ? [pid] : [pid, rolePid]),
    killAll,
  };
}

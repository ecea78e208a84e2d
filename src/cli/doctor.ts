import { CONTROL_TABLE, CONTROL_TOPOLOGIES, controlTable } from '../audit/controls.ts';
import {
  CAPABILITY_HOLDERS,
  CAPABILITY_TABLE,
  capabilityTable,
  describeLack,
  missingCapabilities,
} from '../config/capabilities.ts';
import { installPaths } from '../config/install.ts';
import { type Fact, type KernelFacts, probeKernel } from '../kernel/probe.ts';
import { escapeText } from '../lib/escape.ts';
import { describeVariables, reportVariables } from './variables.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan doctor`: what this machine can enforce, and what castellan will therefore do. Exit code 1 when a run would be refused. */
export const verb: Verb = async (command, { surroundings, stdout }) => {
  if (command.options.has('env')) {
    const variables = reportVariables(surroundings.environment);
    if (command.options.has('json')) printJson(stdout, { variables });
    else stdout.write(describeVariables(variables));
    return 0;
  }
  if (command.options.has('controls')) {
    if (command.options.has('json'))
      printJson(stdout, { topologies: CONTROL_TOPOLOGIES, controls: CONTROL_TABLE });
    else stdout.write(`${controlTable()}\n`);
    return 0;
  }
  if (command.options.has('capabilities')) {
    if (command.options.has('json'))
      printJson(stdout, { holders: CAPABILITY_HOLDERS, capabilities: CAPABILITY_TABLE });
    else stdout.write(`${capabilityTable()}\n`);
    return 0;
  }
  const { netnsHelper, toolDirectories } = installPaths(surroundings);
  const facts = await probeKernel({ helper: netnsHelper, toolDirectories });
  const consequences = consequencesOf(facts);
  if (command.options.has('json')) printJson(stdout, { facts, consequences });
  else stdout.write(describe(facts, consequences));
  return consequences.some(({ effect }) => effect === 'refused') ? 1 : 0;
};

export interface Consequence {
  readonly control: string;
  readonly effect: 'enforced' | 'degraded' | 'refused';
  readonly detail: string;
}

/** What castellan does with each finding. Pure. */
export function consequencesOf(facts: KernelFacts): Consequence[] {
  const abi = facts.landlockAbi;
  return [
    facts.sealedNamespace.ok
      ? {
          control: 'egress',
          effect: 'enforced',
          detail: `sealed network namespace, made ${facts.sealedNamespace.value}`,
        }
      : {
          control: 'egress',
          effect: 'refused',
          detail: `${facts.sealedNamespace.reason}; the containers of a pod (--control-socket) need no such namespace`,
        },
    abi.ok
      ? {
          control: 'files',
          effect: 'enforced',
          detail: `Landlock ABI ${abi.value}${abi.value >= 6 ? ', signals and abstract sockets scoped' : ''}`,
        }
      : {
          control: 'files',
          effect: 'degraded',
          detail: `${abi.reason}; best_effort runs on with a finding, hard_requirement is refused`,
        },
    facts.seccomp.ok
      ? { control: 'system calls', effect: 'enforced', detail: 'seccomp profile agent' }
      : { control: 'system calls', effect: 'refused', detail: facts.seccomp.reason },
    facts.root
      ? {
          control: 'identity',
          effect: 'enforced',
          detail: 'process.run_as_user; network role under its own uid',
        }
      : {
          control: 'identity',
          effect: 'degraded',
          detail:
            'not root: the agent and the network role have your uid; namespaces and Landlock keep them apart',
        },
    abi.ok && abi.value < 6 && !facts.root
      ? {
          control: 'signals',
          effect: 'degraded',
          detail: 'Landlock before ABI 6: a rootless agent can signal other processes of yours',
        }
      : { control: 'signals', effect: 'enforced', detail: facts.root ? 'other uid' : 'Landlock scope' },
    ...lacksOf(facts),
  ];
}

/** Of root: what a run as somebody else does without is told by its own rows. */
function lacksOf({ root, capabilities }: KernelFacts): Consequence[] {
  if (!root || !capabilities.ok) return [];
  return missingCapabilities('combined', capabilities.value).map((row) => ({
    control: `CAP_${row.capability}`,
    effect: 'refused' in row.without && row.without.refused === 'start' ? 'refused' : 'degraded',
    detail: `missing, for ${row.gives}: ${describeLack(row)}`,
  }));
}

function describe(facts: KernelFacts, consequences: readonly Consequence[]): string {
  const rows: [string, string][] = [
    ['kernel', facts.kernelRelease],
    ['node', facts.nodeVersion],
    ['user', facts.root ? 'root' : 'not root'],
    [
      'capabilities',
      show(facts.capabilities, (names) =>
        names.length > 12 ? `${names.length} of them` : names.join(' ') || 'none',
      ),
    ],
    ['Landlock', show(facts.landlockAbi, (abi) => `ABI ${abi}`)],
    ['seccomp', show(facts.seccomp, (actions) => actions.join(' '))],
    ['user namespaces', show(facts.userNamespaces)],
    ['nftables redirect and NFLOG', show(facts.sealedNamespace)],
    ['cgroups', show(facts.cgroups)],
    ['PID 1', show(facts.pidOne)],
    ['ip', show(facts.ip)],
    ['nft', show(facts.nft)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = [
    'This machine',
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    '',
    'castellan run will here',
    ...consequences.map(
      ({ control, effect, detail }) => `  ${control.padEnd(width)}  ${effect}: ${escapeText(detail)}`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function show<T>(fact: Fact<T>, format: (value: T) => string = String): string {
  return escapeText(fact.ok ? format(fact.value) : `no: ${fact.reason}`);
}

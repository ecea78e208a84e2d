/**
 * Every capability that castellan uses, and what for: README shows this table, `castellan doctor --capabilities` prints it, starts are
 * checked by it, and rendered pods ask for what is in it. Which are needed was found by taking one after the other away (test/pod).
 */

/** Who holds them. `otherwise`: what a start that lacks some could do instead. */
export const CAPABILITY_HOLDERS = {
  combined: { title: 'one container or machine, as root', otherwise: 'or run castellan without root' },
  fence: { title: 'pod: network-init', otherwise: undefined },
  sidecar: {
    title: 'pod: a sidecar that is root',
    otherwise: 'or run it as the network role’s own uid',
  },
  identifying: {
    title: 'pod: a sidecar with --binary-identity sidecar',
    otherwise: 'or choose another --binary-identity',
  },
} as const;
export type CapabilityHolder = keyof typeof CAPABILITY_HOLDERS;

interface CapabilityUse {
  /** As engines and Kubernetes write it, without CAP_. */
  readonly capability: string;
  readonly holder: CapabilityHolder;
  readonly gives: string;
  /** Does as well. */
  readonly or?: string;
  /**
   * What happens without it. `start`: it is refused at once. `step`: whatever meets the need is refused, and nothing where none does.
   * A finding names the control that it is about, and the run goes on.
   */
  readonly without:
    | { readonly refused: 'start' | 'step' }
    | { readonly control: 'binary-identity' | 'bypass-watch' | 'teardown'; readonly finding: string };
  /** False: rendered pods do without. */
  readonly rendered?: false;
}

const AT_START = { refused: 'start' } as const;
const AT_STEP = { refused: 'step' } as const;
const BY_ROUNDS = {
  control: 'teardown',
  finding: 'without a delegated cgroup, the end goes by rounds of KILL',
} as const;

/** In the order in which pods name them. */
export const CAPABILITY_TABLE: readonly CapabilityUse[] = [
  { capability: 'SYS_ADMIN', holder: 'combined', gives: 'namespaces, and mounts in them', without: AT_START },
  {
    capability: 'SYS_CHROOT',
    holder: 'combined',
    gives:
      'one view of the files that every launch enters, and with it an end of all processes at one stroke',
    without: BY_ROUNDS,
  },
  {
    capability: 'NET_ADMIN',
    holder: 'combined',
    gives: 'links, routes and rules of the sealed network',
    without: AT_START,
  },
  {
    capability: 'SETUID',
    holder: 'combined',
    gives: 'the uids of the agent and of the network role',
    without: AT_START,
  },
  { capability: 'SETGID', holder: 'combined', gives: 'their groups', without: AT_START },
  {
    capability: 'SETPCAP',
    holder: 'combined',
    gives: 'taking every capability from both',
    without: AT_START,
  },
  { capability: 'CHOWN', holder: 'combined', gives: 'giving paths to the agent', without: AT_STEP },
  { capability: 'DAC_OVERRIDE', holder: 'combined', gives: 'reaching files of others', without: AT_STEP },
  {
    capability: 'FOWNER',
    holder: 'combined',
    gives: 'changing the mode of files of others',
    without: AT_STEP,
  },
  {
    capability: 'KILL',
    holder: 'combined',
    gives: 'an end of all processes at one stroke',
    without: BY_ROUNDS,
  },
  {
    capability: 'SYS_PTRACE',
    holder: 'combined',
    gives: 'seeing which program asks',
    without: {
      control: 'binary-identity',
      finding: 'no program is identified, and every request refused (identity_unknown)',
    },
  },
  { capability: 'NET_ADMIN', holder: 'fence', gives: 'the fence', without: AT_START },
  {
    capability: 'CHOWN',
    holder: 'fence',
    gives: 'giving the control directory to the proxy (--state-directory)',
    without: AT_STEP,
  },
  {
    capability: 'SYS_PTRACE',
    holder: 'identifying',
    gives: 'seeing whose a connection is',
    without: AT_START,
  },
  {
    capability: 'DAC_OVERRIDE',
    holder: 'identifying',
    gives: 'opening directories of other users’ processes',
    or: 'DAC_READ_SEARCH',
    without: AT_START,
  },
  {
    capability: 'DAC_OVERRIDE',
    holder: 'sidecar',
    gives: 'the control socket, in a directory of the proxy’s',
    without: AT_STEP,
  },
  { capability: 'SETUID', holder: 'sidecar', gives: 'the network role’s own uid', without: AT_START },
  { capability: 'SETGID', holder: 'sidecar', gives: 'its group', without: AT_START },
  { capability: 'SETPCAP', holder: 'sidecar', gives: 'taking every capability from it', without: AT_START },
  {
    capability: 'NET_ADMIN',
    holder: 'sidecar',
    gives: 'a record of what the fence refuses',
    without: { control: 'bypass-watch', finding: 'there is none' },
    rendered: false,
  },
];

/** What a pod asks for in the container of these holders, each once. */
export function renderedCapabilities(...holders: readonly CapabilityHolder[]): readonly string[] {
  const rows = CAPABILITY_TABLE.filter(
    ({ holder, rendered }) => rendered !== false && holders.includes(holder),
  );
  return [...new Set(rows.map(({ capability }) => capability))];
}

/** The rows of a holder that are not served. @param held with CAP_ before each, as the kernel names them */
export function missingCapabilities(of: CapabilityHolder, held: readonly string[]): readonly CapabilityUse[] {
  return CAPABILITY_TABLE.filter(
    ({ holder, capability, or }) =>
      holder === of &&
      !held.includes(`CAP_${capability}`) &&
      !(or !== undefined && held.includes(`CAP_${or}`)),
  );
}

/** What comes of a run that lacks one, in words. */
export function describeLack({ without }: CapabilityUse): string {
  if ('finding' in without) return `a finding (${without.control}): ${without.finding}`;
  return without.refused === 'start' ? 'the start is refused' : 'refused where there is a need for it';
}

/** The table as Markdown. */
export function capabilityTable(): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const titles = ['who', 'capability', 'for', 'without it'];
  return [
    line(titles),
    line(titles.map(() => '---')).replaceAll(' ', ''),
    ...CAPABILITY_TABLE.map((row) =>
      line([
        CAPABILITY_HOLDERS[row.holder].title,
        `\`${row.capability}\`${row.or === undefined ? '' : ` or \`${row.or}\``}`,
        row.gives,
        describeLack(row),
      ]),
    ),
  ].join('\n');
}

/** One scrape: everything there is to tell, as Prometheus reads it. */
import { COUNTERS, type CounterName } from '../audit/counters.ts';
import { EXPOSITION_TYPE, exposition, type MetricFamily, type MetricSample } from '../protocol/exposition.ts';
import type { NetworkFigures, ProcessFigures } from '../roles/message.ts';
import { VERSION } from '../version.ts';
import type { DoorAnswer } from './door.ts';
import type { MeasuredRun } from './metrics.ts';

/** Never rejects because of a role that does not answer: then its part is missing, and `castellan_role_up` is 0. */
export async function measure(run: MeasuredRun): Promise<DoorAnswer> {
  const { sources } = run;
  const [own, network] = await Promise.all([run.ownFigures(), sources.network?.measure()]);
  const families = [
    ...aboutRun(run),
    ...aboutRoles(own, network, sources.network !== undefined),
    ...(network === undefined ? [] : aboutEgress(network)),
    ...(Object.keys(COUNTERS) as CounterName[]).map((name) =>
      counter(name, COUNTERS[name].help, run.tally.sums(name)),
    ),
  ];
  return { status: 200, type: EXPOSITION_TYPE, body: exposition(families) };
}

function aboutRun({ config, tally, sources: { audit } }: MeasuredRun): MetricFamily[] {
  const sum = (name: CounterName): number => tally.sums(name).reduce((total, { value }) => total + value, 0);
  const loaded = tally.sums('policy_loads').find(({ labels }) => labels['result'] === 'loaded')?.value ?? 0;
  return [
    gauge('build_info', 'The version of castellan; always 1.', [
      { labels: { version: VERSION, node: process.version }, value: 1 },
    ]),
    gauge('run_info', 'The sandbox, and how it is confined; always 1.', [
      { labels: { sandbox: config.name, mode: config.mode }, value: 1 },
    ]),
    gauge('start_duration_seconds', 'How long the start took.', known(tally.startSeconds)),
    gauge('policy_generation', 'Policies that have been in force so far, this one included.', known(loaded)),
    gauge('policy_rules', 'Network rules of the policy that was loaded last.', known(tally.policyRules)),
    gauge(
      'processes',
      'Processes that castellan launched in the sandbox and that run.',
      known(sum('launches') - sum('exits')),
    ),
    gauge(
      'ssh_connections',
      'SSH connections that are open.',
      known(sum('ssh_connections') - sum('ssh_disconnections')),
    ),
    gauge(
      'attached',
      'Clients attached to the main process.',
      known(sum('attachments') - sum('detachments')),
    ),
    counter('audit_records', 'Records of the audit log.', known(audit?.counts?.records)),
    counter('audit_dropped', 'Events that the audit log did not take.', known(audit?.counts?.dropped)),
  ];
}

function aboutRoles(
  own: ProcessFigures,
  network: NetworkFigures | undefined,
  hasNetwork: boolean,
): MetricFamily[] {
  const role = (of: (figures: ProcessFigures) => number | undefined): MetricSample[] => [
    ...known(of(own)).map((sample) => ({ ...sample, labels: { role: 'process' } })),
    ...known(network && of(network)).map((sample) => ({ ...sample, labels: { role: 'network' } })),
  ];
  return [
    gauge('role_up', 'Whether the role answered.', [
      { labels: { role: 'process' }, value: 1 },
      ...(hasNetwork ? [{ labels: { role: 'network' }, value: network === undefined ? 0 : 1 }] : []),
    ]),
    counter(
      'role_cpu_seconds',
      'CPU time of the role, user and system.',
      role((figures) => figures.cpuSeconds),
    ),
    gauge(
      'role_resident_memory_bytes',
      'Resident memory of the role.',
      role((figures) => figures.residentBytes),
    ),
    gauge(
      'role_heap_bytes',
      'Memory of the role in use for JavaScript.',
      role((figures) => figures.heapBytes),
    ),
    gauge(
      'role_open_descriptors',
      'Open file descriptors of the role.',
      role((figures) => figures.openDescriptors),
    ),
    gauge(
      'role_event_loop_lag_p99_seconds',
      'By how much 99 of 100 turns of the role’s event loop came late at most, since the scrape before.',
      role((figures) => figures.lagP99Seconds),
    ),
    gauge(
      'role_event_loop_lag_max_seconds',
      'By how much the latest turn came late, since the scrape before.',
      role((figures) => figures.lagMaxSeconds),
    ),
  ];
}

function aboutEgress(figures: NetworkFigures): MetricFamily[] {
  const states = {
    arriving: 'liveArriving',
    unread: 'liveUnread',
    opened: 'liveOpened',
    request: 'liveRequests',
  } as const;
  return [
    gauge('egress_clients', 'Connections of the sandbox to the proxy and its likes.', known(figures.clients)),
    gauge(
      'egress_live',
      'Connections and requests that were let through and are under way, by how they are read.',
      Object.entries(states).map(([state, name]) => ({ labels: { state }, value: figures[name] })),
    ),
    gauge('egress_spliced_tunnels', 'Tunnels that the kernel moves.', known(figures.splicedTunnels)),
    gauge(
      'egress_identifications_waiting',
      'Connections whose program is being looked for.',
      known(figures.identificationsWaiting),
    ),
    gauge('egress_lookups_running', 'Names that are being looked up.', known(figures.lookupsRunning)),
    gauge('egress_lookups_waiting', 'Names that wait to be looked up.', known(figures.lookupsWaiting)),
    gauge('egress_names_remembered', 'Names whose addresses are remembered.', known(figures.namesRemembered)),
  ];
}

function known(value: number | undefined): MetricSample[] {
  return value === undefined ? [] : [{ value }];
}

function gauge(name: string, help: string, samples: readonly MetricSample[]): MetricFamily {
  return { name: `castellan_${name}`, type: 'gauge', help, samples };
}

function counter(name: string, help: string, samples: readonly MetricSample[]): MetricFamily {
  return { name: `castellan_${name}_total`, type: 'counter', help, samples };
}

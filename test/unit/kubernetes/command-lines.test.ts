/** Every command line of castellan's that is rendered, read by what reads it in the container. */
import type { V1Container } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseArguments } from '../../../src/cli/parse.ts';
import { type RunConfig, readRunConfig } from '../../../src/config/config.ts';
import { type NetworkInitConfig, readNetworkInitConfig } from '../../../src/config/network-init.ts';
import { CastellanError } from '../../../src/errors.ts';
import { placedContainers } from '../../../src/kubernetes/containers.ts';
import { CASTELLAN } from '../../../src/kubernetes/layout.ts';
import { renderSandbox } from '../../../src/kubernetes/render.ts';
import type { SandboxRequest } from '../../../src/kubernetes/request.ts';
import { renderYaml } from '../../../src/kubernetes/yaml-text.ts';
import { seededRandom } from '../random.ts';
import { randomRequest } from './pods.ts';

/** Of a platform that gives the uid itself. */
const PLATFORM_UID = 1_000_680_000;

interface Read {
  readonly run: RunConfig[];
  readonly fence: NetworkInitConfig[];
}

const random = seededRandom(20_261_126);
const pods = Array.from({ length: 1000 }, () => possible(randomRequest(random))).flatMap((request) => {
  try {
    const { documents } = renderSandbox(request, {
      kind: 'Pod',
      withScc: false,
      namespace: { kind: 'unknown' },
    });
    const { spec } = parse(renderYaml(documents.slice(-1), []));
    return [{ request, containers: placedContainers(spec).map(({ container }) => container) }];
  } catch (error) {
    if (error instanceof CastellanError) return [];
    throw error;
  }
});

describe('command lines of rendered pods', () => {
  it('there are enough of them', () => expect(pods.length).toBeGreaterThan(100));

  it('are taken by the verbs that they name', () => {
    for (const { containers } of pods) for (const container of containers) read(container);
  });

  it('what answers outside of the pod is let through the fence', () => {
    for (const { containers } of pods) {
      const { run, fence } = together(containers);
      const sidecar = run.find(({ mode }) => mode === 'sidecar');
      if (sidecar === undefined) continue;
      const ports = [sidecar.healthListener, sidecar.metricsListener].flatMap((place) =>
        place !== undefined && 'port' in place ? [place.port] : [],
      );
      const inboundPorts = ports.sort((one, other) => one - other);
      expect(fence[0]).toMatchObject({ inboundPorts, proxyUid: sidecar.networkRoleUid });
    }
  });

  it('the two containers of a pod are told the same', () => {
    for (const { containers, request } of pods) {
      const { run } = together(containers);
      if (request.topology !== 'sidecar') continue;
      const [sidecar, agent] = ['sidecar', 'process-only'].map((mode) =>
        run.find((one) => one.mode === mode),
      );
      expect(sidecar?.pod?.controlSocket).toBe(agent?.pod?.controlSocket);
      expect(sidecar?.graceMs).toBe(agent?.graceMs);
    }
  });
});

/** As a file can say it: there a login is of the proxy, which the reader has judged as run does. */
function possible(request: SandboxRequest): SandboxRequest {
  if (request.upstreamProxy?.allowInsecureAuth) return request;
  const { upstreamProxyAuth: _, ...secrets } = request.secrets;
  return { ...request, secrets };
}

function together(containers: readonly V1Container[]): Read {
  const all = containers.map(read);
  return { run: all.flatMap(({ run }) => run), fence: all.flatMap(({ fence }) => fence) };
}

function read(container: V1Container): Read {
  const { command = [], args = [], env = [], securityContext, name } = container;
  if (command[0] !== CASTELLAN) return { run: [], fence: [] };
  const environment = Object.fromEntries(env.map(({ name, value }) => [name, value ?? 'from elsewhere']));
  const words = [...command.slice(1), ...args].map((word) => word.replaceAll('$$', '$'));
  const probes = (['livenessProbe', 'readinessProbe', 'startupProbe'] as const).flatMap((probe) => {
    const asked = container[probe]?.exec?.command;
    return asked === undefined ? [] : [asked.slice(1)];
  });
  for (const probe of probes) expect(parseArguments(probe)).toMatchObject({ kind: 'command' });
  const parsed = parseArguments(words);
  if (parsed.kind !== 'command') throw new Error(`${name} asks for ${parsed.kind}`);
  const uid = securityContext?.runAsUser ?? PLATFORM_UID;
  const surroundings = {
    ...{ uid, gid: uid, groups: [], pid: 9, parentPid: 1, initPid: 1, workingDirectory: '/', environment },
    ...{ installRoot: '/opt/castellan', node: '/n' },
    ...{ stdinIsTerminal: false, stdoutIsTerminal: false, stderrIsTerminal: false },
  };
  switch (parsed.command.verb) {
    case 'run':
      return { run: [readRunConfig(parsed.command, surroundings, false, new Date(0))], fence: [] };
    case 'network-init':
      return { run: [], fence: [readNetworkInitConfig(parsed.command, surroundings)] };
    default:
      expect(['copy-self', 'seed']).toContain(parsed.command.verb);
      return { run: [], fence: [] };
  }
}

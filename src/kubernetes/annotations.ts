/** What a supervised pod says about itself: where its numbers come from, and what a cluster has to allow for it. */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { VERSION } from '../version.ts';
import { METADATA_PREFIX } from './layout.ts';
import { podSecurityLevel, podSecurityViolations } from './pod-security.ts';
import { requiredScc } from './scc.ts';
import type { SupervisorOptions } from './supervisor.ts';

/**
 * The pod with annotations that tell, for people and for audits. Nothing decides by them. Short ones: podman kube play takes no more
 * than 63 characters.
 */
export function annotate(pod: V1PodTemplateSpec, options: SupervisorOptions): V1PodTemplateSpec {
  const { topology, identity } = options;
  const numbers =
    identity.kind === 'platform'
      ? { 'sandbox-uid': 'given by the platform', 'sandbox-gid': 'given by the platform' }
      : {
          'sandbox-uid': `${identity.uid.value} (${identity.uid.source})`,
          'sandbox-gid': `${identity.gid.value} (${identity.gid.source})`,
        };
  const told = {
    version: VERSION,
    topology,
    ...numbers,
    'pod-security': podSecurityLevel(podSecurityViolations(pod)),
    scc: requiredScc(pod).name,
  };
  const annotations = Object.entries(told).map(([name, value]) => [`${METADATA_PREFIX}${name}`, value]);
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      annotations: { ...pod.metadata?.annotations, ...Object.fromEntries(annotations) },
    },
  };
}

/** The level of the pod, and which containers keep it from the next one. */
export function describePodSecurity(pod: V1PodTemplateSpec): string {
  const violations = podSecurityViolations(pod);
  const level = podSecurityLevel(violations);
  if (level === 'restricted') return level;
  const at = level === 'privileged' ? 'baseline' : 'restricted';
  const culprits = new Map<string, Set<string>>();
  for (const { container = 'pod', control, level: asked } of violations)
    if (asked === at) culprits.set(container, (culprits.get(container) ?? new Set()).add(control));
  const told = [...culprits].map(([container, controls]) => `${container}: ${[...controls].join(', ')}`);
  return `${level} (${told.join('; ')})`;
}

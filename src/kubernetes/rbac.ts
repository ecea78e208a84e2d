/**
 * What RBAC has to give the service account of a pod. Castellan asks nothing of the API server, and mounts no token: it is OpenShift's
 * admission alone that looks whether the account may use the SecurityContextConstraints that admit the pod.
 */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import type { RequiredScc } from './scc.ts';

/** Whose pods name none. */
const DEFAULT_ACCOUNT = 'default';

export function serviceAccountOf({ spec }: V1PodTemplateSpec): string {
  return spec?.serviceAccountName ?? spec?.serviceAccount ?? DEFAULT_ACCOUNT;
}

/** In one line. @param ownName of an SCC that is made for the pod */
export function describeRbac(pod: V1PodTemplateSpec, scc: RequiredScc, ownName = 'of its own'): string {
  // Every account may use it.
  if (scc.name === 'restricted-v2') return 'nothing';
  const name = scc.name === 'custom' ? ownName : scc.name;
  const account = serviceAccountOf(pod);
  // What the pod may ask for, all of its account may.
  const shared = account === DEFAULT_ACCOUNT ? ' (better one of its own than that of every pod)' : '';
  return `service account ${account}${shared} has to be allowed to use the SCC ${name}, on OpenShift; nothing else`;
}

/** The Role and the RoleBinding that let an account of a namespace use one SCC. */
export function rbacManifests(
  scc: string,
  account: string,
  namespace: string,
): readonly Readonly<Record<string, unknown>>[] {
  const metadata = { name: `use-${scc}`, namespace };
  return [
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata,
      rules: [
        {
          apiGroups: ['security.openshift.io'],
          resources: ['securitycontextconstraints'],
          resourceNames: [scc],
          verbs: ['use'],
        },
      ],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      // An account may have others by another file.
      metadata: { ...metadata, name: `use-${scc}-${account}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: metadata.name },
      subjects: [{ kind: 'ServiceAccount', name: account, namespace }],
    },
  ];
}

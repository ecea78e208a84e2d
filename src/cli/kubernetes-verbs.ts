/** Verbs about pods. */
import { JSON_OUTPUT, type VerbDefinition } from './option.ts';

export const KUBERNETES_VERBS = [
  {
    name: 'kubernetes render',
    synopsis: 'castellan kubernetes render -f REQUEST [OPTIONS]',
    summary: 'print the pod of a sandbox, with castellan in it',
    operands: 'none',
    options: [
      {
        name: 'file',
        short: 'f',
        value: 'REQUEST',
        help: 'what the sandbox is to be (- reads standard input)',
      },
      { name: 'topology', value: 'TOPOLOGY', help: 'combined or sidecar, in place of the request’s' },
      { name: 'kind', value: 'KIND', help: 'Pod (default), or Sandbox of agents.x-k8s.io/v1beta1' },
      {
        name: 'namespace-annotations',
        value: 'FILE',
        help: 'the namespace, or its annotations, as YAML or JSON: OpenShift sets aside the sandbox’s ids there',
      },
      {
        name: 'scc',
        help: 'print the SecurityContextConstraints too, where the pod needs its own, and the Role by which its service account may use them (in a request with a namespace)',
      },
    ],
  },
  {
    name: 'kubernetes validate',
    synopsis: 'castellan kubernetes validate FILE [OPTIONS]',
    summary: 'check the pods of a manifest, without a cluster (exit code 1: there is something to correct)',
    operands: 'one',
    options: [
      {
        name: 'pod-security',
        value: 'LEVEL',
        help: 'the Pod Security level that every pod has to reach: privileged (default), baseline or restricted',
      },
      { name: 'require-castellan', help: 'every pod has to be supervised' },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'kubernetes webhook',
    synopsis: 'castellan kubernetes webhook --config FILE --tls-certificate FILE --tls-key FILE [OPTIONS]',
    summary:
      'put castellan into the pods of a cluster that ask for it (/mutate), and see that nobody takes it out again (/validate), as an admission webhook',
    operands: 'none',
    options: [
      { name: 'config', value: 'FILE', help: 'how pods are changed, and what a pod may choose' },
      { name: 'tls-certificate', value: 'FILE', help: 'certificate chain as PEM; followed as it changes' },
      { name: 'tls-key', value: 'FILE', help: 'its key as PEM' },
      {
        name: 'client-ca',
        value: 'FILE',
        help: 'API servers have to show a certificate of these authorities (default: none is asked for)',
      },
      { name: 'listen', value: 'ADDRESS:PORT', help: 'where to serve reviews (default 0.0.0.0:8443)' },
      {
        name: 'health-listen',
        value: 'ADDRESS:PORT',
        help: 'answer probes over HTTP there (/live, /startup, /ready)',
      },
      {
        name: 'grace',
        value: 'SECONDS',
        help: 'time after a stop signal in which reviews still come, until the cluster knows (default 10)',
      },
    ],
  },
] as const satisfies readonly VerbDefinition[];

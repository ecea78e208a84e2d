/** The command line, told once: the parser, `--help` and later the man page and completions read this table. */
import { CELL_OPTIONS, type OptionDefinition } from './cell-options.ts';
import { SSH_OPTIONS } from './ssh-options.ts';

export interface VerbDefinition {
  readonly name: string;
  readonly synopsis: string;
  readonly summary: string;
  readonly options: readonly OptionDefinition[];
  /** What may follow the options. */
  readonly operands: 'none' | 'one' | 'two' | 'some' | 'optional-command';
  /** Internal verbs are left out of help. */
  readonly hidden?: boolean;
}

const SANDBOX: OptionDefinition = {
  name: 'sandbox',
  value: 'NAME',
  help: 'which running sandbox; may be left out when there is only one',
};
const JSON_OUTPUT: OptionDefinition = { name: 'json', help: 'print JSON' };

export const VERBS = [
  {
    name: 'run',
    synopsis: 'castellan run [OPTIONS] [-- COMMAND [ARGUMENT…]]',
    summary: 'run a command, confined by a policy',
    operands: 'optional-command',
    options: [
      ...CELL_OPTIONS,
      { name: 'explain', help: 'print what would be applied, as JSON, and run nothing' },
      { name: 'grace', value: 'SECONDS', help: 'time between TERM and KILL at the end (default 10)' },
      {
        name: 'timeout',
        value: 'SECONDS',
        help: 'end the command after so long, with exit code 124 (default 0: never)',
      },
      {
        name: 'reload',
        value: 'WHEN',
        help: 'read the policy again at SIGHUP (signal), or also when its file changes (watch); default: never',
      },
      {
        name: 'on-invalid-policy',
        value: 'EFFECT',
        help: 'with --reload: keep the last valid policy (default), or deny everything until there is a valid one',
      },
      {
        name: 'health-listen',
        value: 'PLACE',
        help: 'answer probes over HTTP at ADDRESS:PORT or unix:PATH too (/live, /startup, /ready); the command cannot reach it',
      },
      {
        name: 'metrics-listen',
        value: 'PLACE',
        help: 'answer /metrics over HTTP there, for Prometheus; the command cannot reach it',
      },
      {
        name: 'ssh-socket',
        value: 'PATH|@NAME',
        help: 'answer SSH there too: a socket at a path that the policy grants nobody, or one with an abstract name',
      },
      {
        name: 'control-socket',
        value: 'PATH',
        help: 'in a pod: where the sidecar (--roles network) and the agent’s container (--roles process) meet',
      },
      {
        name: 'sandbox-uid',
        value: 'UID',
        help: 'in the sidecar: who the agent’s container runs as (default: anybody but root and the network role)',
      },
      {
        name: 'binary-identity',
        value: 'BY',
        help: 'in the sidecar: who finds out which program asks: process (default), sidecar (takes a shared process namespace, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH), or none: rules hold for every program',
      },
      { name: 'policy-proposals', help: 'let programs ask for rules at http://policy.local/' },
      { name: 'retain', help: 'hold the command’s input and output, so that castellan attach reaches them' },
      {
        name: 'tty',
        short: 't',
        help: 'with --retain: run the command on a terminal of its own, not on pipes',
      },
      { name: 'quiet', help: 'no events on standard error' },
    ],
  },
  {
    name: 'validate',
    synopsis: 'castellan validate [OPTIONS] [-- COMMAND]',
    summary: 'tell whether a run would start here, and run nothing',
    operands: 'optional-command',
    options: [...CELL_OPTIONS, JSON_OUTPUT],
  },
  {
    name: 'ssh',
    synopsis:
      'castellan ssh [--sandbox NAME] [-t] [-N] [-L FORWARD]… [-D ADDRESS]… [-W TARGET] [-- COMMAND [ARGUMENT…]]',
    summary: 'open a shell, or run a command, in a running sandbox',
    operands: 'optional-command',
    options: [SANDBOX, ...SSH_OPTIONS],
  },
  {
    name: 'attach',
    synopsis: 'castellan attach [--sandbox NAME] [--read-only]',
    summary: 'see and type what the main process does (Ctrl-P Ctrl-Q detaches)',
    operands: 'none',
    options: [SANDBOX, { name: 'read-only', help: 'leave the input to others' }],
  },
  {
    name: 'list',
    synopsis: 'castellan list [--json]',
    summary: 'list running sandboxes',
    operands: 'none',
    options: [JSON_OUTPUT],
  },
  {
    name: 'doctor',
    synopsis: 'castellan doctor [--env | --controls | --capabilities] [--json]',
    summary: 'tell what this machine can enforce',
    operands: 'none',
    options: [
      { name: 'env', help: 'tell which variables castellan knows, which are set here, and what they decide' },
      { name: 'controls', help: 'tell how each control is enforced in each topology' },
      {
        name: 'capabilities',
        help: 'tell which capabilities castellan uses where, for what, and what happens without',
      },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'policy',
    synopsis: 'castellan policy FILE [--json]',
    summary: 'check a policy file and print what it means',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy lint',
    synopsis: 'castellan policy lint FILE [--json]',
    summary: 'tell every problem and notice of a policy file, with line and column',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy explain',
    synopsis: 'castellan policy explain FILE --binary PATH --url URL [OPTIONS]',
    summary: 'tell what would become of one request, and by which rule (exit code 1: refused)',
    operands: 'one',
    options: [
      {
        name: 'binary',
        value: 'PATH',
        repeatable: true,
        help: 'the program that asks; more are its ancestors, nearest first; PATH@sha256:HEX tells its hash too',
      },
      {
        name: 'url',
        value: 'URL',
        help: 'https://host/path, http://host/path, or tcp://host:port for a connection alone',
      },
      { name: 'method', value: 'METHOD', help: 'default GET, with a body POST' },
      {
        name: 'header',
        value: 'NAME: VALUE',
        repeatable: true,
        help: 'a header of the request; with a body, JSON is the default type',
      },
      { name: 'body', value: 'FILE', help: 'the body of the request' },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'policy test',
    synopsis: 'castellan policy test FILE ASSERTIONS [--json]',
    summary: 'check a policy against a file of what it has to allow and refuse (exit code 1: it does not)',
    operands: 'two',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy schema',
    synopsis: 'castellan policy schema',
    summary: 'print the language of policies as JSON Schema, for editors',
    operands: 'none',
    options: [],
  },
  {
    name: 'policy diff',
    synopsis: 'castellan policy diff OLD NEW [--json]',
    summary: 'tell what one policy grants more and less than another (exit code 1: they differ)',
    operands: 'two',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy learn',
    synopsis: 'castellan policy learn LOG… [OPTIONS]',
    summary: 'write a policy that allows what audit logs tell (exit code 1: a log does not verify)',
    operands: 'some',
    options: [
      {
        name: 'base',
        value: 'FILE',
        help: 'learn only what this policy does not allow yet, as an addition to it',
      },
      {
        name: 'include-denied',
        help: 'grant what was refused for want of a rule, instead of only telling it',
      },
      { name: 'exact', help: 'keep paths as they were seen, also where they differ only in identifiers' },
      { name: 'unverified', help: 'learn from logs whose hash chain does not verify' },
    ],
  },
  {
    name: 'policy proposals',
    synopsis: 'castellan policy proposals [--sandbox NAME | --audit-file FILE] [--json]',
    summary: 'print the rules that programs of a sandbox ask for, ready to be pasted into its policy',
    operands: 'none',
    options: [
      SANDBOX,
      { name: 'audit-file', value: 'FILE', help: 'read the log of a run that has ended' },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'credentials',
    synopsis: 'castellan credentials FILE [--json]',
    summary: 'check a file of credentials and print what may go where, without the secrets',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'audit',
    synopsis: 'castellan audit FILE [--json]',
    summary: 'verify the hash chain of an audit file',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'probe',
    synopsis: 'castellan probe live|startup|ready [--sandbox NAME]',
    summary: 'tell by the exit code whether a sandbox lives, has started, is ready',
    operands: 'one',
    options: [SANDBOX],
  },
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
  {
    name: 'completion',
    synopsis: 'castellan completion bash|zsh|fish',
    summary: 'print completions for a shell',
    operands: 'one',
    options: [],
  },
  {
    name: 'man',
    synopsis: 'castellan man',
    summary: 'print the manual page, as man -l - reads it',
    operands: 'none',
    options: [],
  },
  {
    name: 'copy-self',
    synopsis: 'castellan copy-self [--openshell] DIRECTORY',
    summary: 'put this bundle into a directory that other containers mount',
    operands: 'one',
    options: [
      {
        name: 'openshell',
        help: 'what is put there is openshell-sandbox: DIRECTORY is where, or its path, as OpenShell’s drivers say it',
      },
    ],
  },
  {
    name: 'network-init',
    synopsis: 'castellan network-init [OPTIONS]',
    summary:
      'fence the network namespace of a pod: only the network role’s uid leaves it (takes root, NET_ADMIN and CHOWN)',
    operands: 'none',
    options: [
      {
        name: 'proxy-uid',
        value: 'UID',
        help: 'uid of the network role, which the fence exempts (default 1337)',
      },
      { name: 'proxy-gid', value: 'GID', help: 'group of its state directory (default: as the uid)' },
      {
        name: 'state-directory',
        value: 'DIR',
        help: 'an empty directory to give to the network role, which others may only pass through',
      },
      {
        name: 'allow-inbound',
        value: 'PORT',
        repeatable: true,
        help: 'TCP port of the network role that may be reached from outside (health, metrics)',
      },
      {
        name: 'whole-machine',
        help: 'fence even the network of the machine itself (a virtual machine that holds one pod)',
      },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'seed',
    synopsis: 'castellan seed SOURCE DIRECTORY',
    summary: 'copy what an image has in its workspace into the empty volume that will cover it',
    operands: 'two',
    options: [],
  },
  {
    name: 'ssh-proxy',
    synopsis: 'castellan ssh-proxy SOCKET',
    summary: 'connect standard input and output to a Unix socket (for ProxyCommand)',
    operands: 'one',
    options: [],
    hidden: true,
  },
  {
    name: 'network-role',
    synopsis: 'castellan network-role',
    summary: 'the network role; started by castellan itself',
    operands: 'none',
    options: [],
    hidden: true,
  },
] as const satisfies readonly VerbDefinition[];

export type VerbName = (typeof VERBS)[number]['name'];

export const GLOBAL_OPTIONS: readonly OptionDefinition[] = [
  { name: 'help', help: 'print help' },
  { name: 'version', help: 'print the version' },
];

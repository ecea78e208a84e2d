/** The command line, told once: the parser, `--help` and later the man page and completions read this table. */

export interface OptionDefinition {
  readonly name: string;
  /** Placeholder of the value; a switch has none. */
  readonly value?: string;
  readonly repeatable?: boolean;
  readonly help: string;
}

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

/** What decides how a sandbox is made; the same for running it and for only looking. */
const CELL_OPTIONS: readonly OptionDefinition[] = [
  {
    name: 'policy',
    value: 'FILE',
    help: 'policy file (default /etc/castellan/policy.yaml, else a policy without network)',
  },
  { name: 'workdir', value: 'DIR', help: 'working directory of the command (default: the current one)' },
  { name: 'name', value: 'NAME', help: 'name of the sandbox (default: a random one)' },
  {
    name: 'env',
    value: 'NAME[=VALUE]',
    repeatable: true,
    help: 'give a variable to the command; without =VALUE, the one castellan has',
  },
  {
    name: 'credentials',
    value: 'FILE',
    help: 'secrets, and where they may go: the command has placeholders of them, which the proxy replaces',
  },
  {
    name: 'audit-file',
    value: 'FILE',
    help: 'where to write OCSF events (default: a new file in the log directory)',
  },
  {
    name: 'proxy-uid',
    value: 'UID',
    help: 'uid of the network role when started as root (default 1337)',
  },
  {
    name: 'roles',
    value: 'ROLES',
    help: 'network,process (default), or process alone where a sidecar fences the network',
  },
  {
    name: 'ownership',
    value: 'METHOD',
    help: 'how the working directory becomes the sandbox user’s: auto, chown, idmap or none (default: auto when the platform names the user, else none); takes root',
  },
  {
    name: 'limit',
    value: 'NAME=VALUE',
    repeatable: true,
    help: 'bound memory, pids, cpu (together) or cputime, fsize, stack, nproc, nofile, memlock, as (each process)',
  },
  {
    name: 'upstream-proxy',
    value: 'URL',
    help: 'reach origins through this proxy (http:// or https://), by CONNECT',
  },
  {
    name: 'upstream-no-proxy',
    value: 'LIST',
    repeatable: true,
    help: 'what is reached without it: names (with all below), .suffixes, addresses, CIDR blocks, each with or without :PORT; or *',
  },
  {
    name: 'upstream-proxy-auth-file',
    value: 'FILE',
    help: 'file with user:password for it; only the network role reads it',
  },
  {
    name: 'upstream-proxy-auth-allow-insecure',
    help: 'send that password to an http:// proxy, unencrypted',
  },
  {
    name: 'upstream-proxy-connect-by-hostname',
    help: 'tell it names, and not the addresses that were checked: it may then connect elsewhere',
  },
  {
    name: 'inference-routes',
    value: 'FILE',
    help: 'models that inference.local answers with, and their keys (read by the network role alone)',
  },
];

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
        value: 'ADDRESS:PORT',
        help: 'answer probes over HTTP there too (/live, /startup, /ready); the command cannot reach it',
      },
      { name: 'policy-proposals', help: 'let programs ask for rules at http://policy.local/' },
      { name: 'retain', help: 'hold the command’s input and output, so that castellan attach reaches them' },
      { name: 'tty', help: 'with --retain: run the command on a terminal of its own, not on pipes' },
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
    synopsis: 'castellan ssh [--sandbox NAME] [-t] [-- COMMAND [ARGUMENT…]]',
    summary: 'open a shell, or run a command, in a running sandbox',
    operands: 'optional-command',
    options: [SANDBOX, { name: 'tty', help: 'ask for a terminal even with a command' }],
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
    synopsis: 'castellan doctor [--json]',
    summary: 'tell what this machine can enforce',
    operands: 'none',
    options: [JSON_OUTPUT],
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
      { name: 'file', value: 'REQUEST', help: 'what the sandbox is to be (- reads standard input)' },
      { name: 'topology', value: 'TOPOLOGY', help: 'combined or sidecar, in place of the request’s' },
      { name: 'kind', value: 'KIND', help: 'Pod (default), or Sandbox of agents.x-k8s.io/v1beta1' },
      {
        name: 'namespace-annotations',
        value: 'FILE',
        help: 'the namespace, or its annotations, as YAML or JSON: OpenShift sets aside the sandbox’s ids there',
      },
      { name: 'scc', help: 'print the SecurityContextConstraints too, where the pod needs its own' },
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
    summary: 'put castellan into the pods of a cluster that ask for it, as an admission webhook',
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
    synopsis: 'castellan copy-self DIRECTORY',
    summary: 'put this bundle into a directory that other containers mount',
    operands: 'one',
    options: [],
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

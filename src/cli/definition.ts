/** The command line, told once: the parser, `--help` and later the man page and completions read this table. */
import { CELL_OPTIONS } from './cell-options.ts';
import { KUBERNETES_VERBS } from './kubernetes-verbs.ts';
import { JSON_OUTPUT, type OptionDefinition, SANDBOX, type VerbDefinition } from './option.ts';
import { POLICY_VERBS } from './policy-verbs.ts';
import { SSH_OPTIONS } from './ssh-options.ts';

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
  ...POLICY_VERBS,
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
  ...KUBERNETES_VERBS,
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

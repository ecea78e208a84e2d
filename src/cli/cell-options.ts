/** The options that decide how a sandbox is made. */
import type { OptionDefinition } from './option.ts';

/** The same for running it and for only looking. */
export const CELL_OPTIONS: readonly OptionDefinition[] = [
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
    name: 'shared-env',
    value: 'NAME[=VALUE]',
    repeatable: true,
    help: 'the same for the command and for SSH sessions; castellan’s own variables come before it',
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
    help: 'network,process (default); or one of them alone, in a container of a pod: process beside a sidecar that fences the network, network as that sidecar',
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

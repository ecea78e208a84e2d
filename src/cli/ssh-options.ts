import type { OptionDefinition } from './option.ts';

/** Those of OpenSSH's client that mean the same here. */
export const SSH_OPTIONS: readonly OptionDefinition[] = [
  { name: 'tty', short: 't', help: 'ask for a terminal even with a command' },
  {
    name: 'local-forward',
    short: 'L',
    value: 'FORWARD',
    repeatable: true,
    help: 'connect what comes to a port or path of this machine to one of the sandbox’s loopback, as ssh(1) writes it: 8080:localhost:80, or ./db.sock:/work/db.sock',
  },
  {
    name: 'dynamic-forward',
    short: 'D',
    value: 'ADDRESS',
    repeatable: true,
    help: 'be a SOCKS proxy at [HOST:]PORT of this machine, to the sandbox’s loopback',
  },
  {
    name: 'stdio-forward',
    short: 'W',
    value: 'TARGET',
    help: 'connect standard input and output to HOST:PORT of the sandbox’s loopback',
  },
  { name: 'no-command', short: 'N', help: 'run nothing, only forward' },
];

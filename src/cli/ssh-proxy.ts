import { connectStdio } from '../session/ssh/proxy-command.ts';
import type { Verb } from './verb.ts';

/** `castellan ssh-proxy SOCKET`: what OpenSSH runs as its ProxyCommand. */
export const verb: Verb = async (command) => {
  await connectStdio(command.operands[0] ?? '');
  return 0;
};

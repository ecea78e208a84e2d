/** The ssh-proxy verb alone, for tests of the SSH server. */
import { connectStdio } from '../../src/session/ssh/proxy-command.ts';

await connectStdio(process.argv[2] ?? '');

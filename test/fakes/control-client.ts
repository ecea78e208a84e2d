/**
 * A process of a pod that goes to the control socket: `control-client.ts PATH [how]`. Prints what became of it as JSON, and then,
 * where it was taken, each message that comes. `how` is what it does wrong.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { CastellanError } from '../../src/errors.ts';
import { openChannel } from '../../src/roles/channel.ts';
import { connectToSidecar } from '../../src/roles/control/connect.ts';
import { CONTROL_VERSION, type FromProcessRole } from '../../src/roles/control/message.ts';

const [path = '', how] = process.argv.slice(2);
const uid = process.getuid?.() ?? -1;
const print = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);

if (how === undefined) {
  try {
    const { messages } = await connectToSidecar({ path, uid, pid: process.pid, deadlineMs: 3000 });
    print({ taken: true });
    for await (const message of messages) print(message);
    print({ closed: true });
  } catch (error) {
    print({ error: error instanceof CastellanError ? error.code : 'other', message: String(error) });
  }
} else {
  const channel = openChannel<FromProcessRole, unknown>(connect(path), (value) => value);
  const token = how === 'token' ? 'f'.repeat(64) : readFileSync(`${path}.token`, 'latin1');
  channel.send({
    type: 'hello',
    role: 'process',
    version: how === 'version' ? 99 : CONTROL_VERSION,
    pid: how === 'pid' ? 1 : process.pid,
    uid: how === 'uid' ? uid + 1 : uid,
    pidNamespace: readlinkSync('/proc/self/ns/pid'),
    token: how === 'giant' ? 'f'.repeat(1024 * 1024) : token,
  });
  const said: unknown[] = [];
  for await (const message of channel.messages()) said.push(message);
  print({ said });
}

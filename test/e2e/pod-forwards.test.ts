/** Forwards and files into the agent's container of a pod, on record in the sidecar's log. Takes root. */
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { unpackPackage } from '../fakes/debian-package.ts';
import { CASTELLAN } from '../fakes/world.ts';
import { AGENT, childOf, makePod, type Pod } from './pod.ts';
import { CALLER_UID, DIRECT, finish, isRoot, untilPrinted, useWorld } from './sandbox.ts';

const world = useWorld();
let pod: Pod;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

/** Every program may reach the origin: who forwards must not be taken for one. */
const ALLOW_ALL = `network_policies:
  test:
    endpoints: [{ host: allowed.demo.test, port: 8080, allowed_ips: [10.77.0.0/24] }]
    binaries: [{ path: /** }]
`;
const SERVER = `${DIRECT} /usr/bin/python3 -c "
import socket, sys, threading
server = socket.create_server(('127.0.0.1', 8941))
def serve():
    while True:
        client, _ = server.accept()
        client.sendall(b'heard ' + client.recv(99)); client.close()
threading.Thread(target=serve, daemon=True).start()
print('up', flush=True); sys.stdin.read()"`;

describe.skipIf(!isRoot)('a pod', () => {
  test('has forwards and sftp, as one container has', async () => {
    const source = join(unpackPackage('openssh-sftp-server'), 'usr/lib/openssh');
    await finish(world().spawn(['mount', '--bind', source, '/usr/lib/openssh'], { stdio: 'pipe' }));
    pod = await makePod(world(), ALLOW_ALL);
    chownSync(pod.work, CALLER_UID, CALLER_UID);
    const sidecar = finish(await pod.sidecar());
    const agent = pod.agent(['sh', '-c', SERVER], { uid: CALLER_UID, stdin: 'pipe' });
    const ended = finish(agent);
    await untilPrinted(agent, 'up');
    const enter = (input: string, ...argv: string[]) => {
      const child = pod.spawn(
        [
          ...['nsenter', `--target=${childOf(agent)}`, '--mount', '--pid', '--'],
          ...['setpriv', ...AGENT(CALLER_UID), '--', ...argv],
        ],
        {
          stdin: 'pipe',
          environment: { XDG_RUNTIME_DIR: join(pod.directory, 'caller-run'), HOME: pod.work },
        },
      );
      child.stdin?.end(input);
      return finish(child);
    };
    const forward = (target: string, input = 'GET http://allowed.demo.test:8080/x HTTP/1.0\r\n\r\n') =>
      enter(input, CASTELLAN, 'ssh', '-W', target);

    expect(await forward('127.0.0.1:8941', 'this')).toMatchObject({ code: 0, stdout: 'heard this' });
    for (const target of ['127.0.0.1:3128', '127.0.0.1:15001', '10.77.0.1:8080', '0.0.0.0:3128'])
      expect(await forward(target)).toMatchObject({
        code: 255,
        stdout: '',
        stderr: expect.stringContaining('administratively prohibited'),
      });

    const mine = join(pod.directory, 'mine');
    mkdirSync(mine);
    writeFileSync(join(mine, 'batch'), 'put batch copied\n');
    const run = join(pod.directory, 'caller-run/castellan');
    const sftp = await enter(
      '',
      ...['sh', '-c'],
      `cd ${mine}; for run in ${run}/*; do exec sftp -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$run/known_hosts \
        -o HostKeyAlias=castellan-\${run##*/} -o ProxyCommand="${CASTELLAN} ssh-proxy $run/ssh.sock" -b batch x@sandbox; done`,
    );
    expect(sftp.stderr).toBe('');
    expect(sftp.code).toBe(0);
    expect(readFileSync(join(pod.work, 'copied'), 'utf8')).toBe('put batch copied\n');

    agent.stdin?.end();
    expect(await ended).toMatchObject({ code: 0 });
    await sidecar;
    const told = pod.events().filter(({ unmapped }) => unmapped?.['session_kind'] === 'forward');
    expect(told.map(({ type_uid, unmapped }) => [type_uid, unmapped?.['target']])).toEqual([
      [400701, '127.0.0.1:8941'],
      [400702, '127.0.0.1:8941'],
      [400705, '127.0.0.1:3128'],
      [400705, '127.0.0.1:15001'],
      [400705, '10.77.0.1:8080'],
      [400705, '0.0.0.0:3128'],
    ]);
    expect(told[1]).toMatchObject({ traffic: { bytes_in: 4, bytes_out: 10 } });
    expect(pod.events().some(({ message }) => message.startsWith('sftp sftp-server started'))).toBe(true);
    expect(pod.events().some(({ message }) => message.includes('allowed.demo.test'))).toBe(false);
    expect(await finish(pod.spawn([CASTELLAN, 'audit', pod.auditPath]))).toMatchObject({ code: 0 });
  });
});

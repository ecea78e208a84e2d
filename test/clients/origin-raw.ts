/** Protocols that are not HTTP, most of them with a server that speaks first; and the servers that are programs of their own. */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import ssh2 from 'ssh2';
import { CALLER_UID, ORIGIN_ADDRESS } from '../fakes/world.ts';
import { PORTS } from './places.ts';

/** An SSH server for anybody: says which command it was asked for. */
export function sshServer(hostKey: string): Server {
  const server = new ssh2.Server({ hostKeys: [readFileSync(hostKey)] }, (client) => {
    client.on('error', () => {});
    client.on('authentication', (context) => context.accept());
    client.on('session', (accept) =>
      accept().on('exec', (acceptCommand, _reject, { command }) => {
        const channel = acceptCommand();
        channel.write(`asked for ${command}\n`);
        channel.exit(0);
        channel.end();
      }),
    );
  });
  return server as unknown as Server;
}

/** Enough of a mail server for clients: a banner, and an answer to each line. */
function lineServer(banner: string, reply: (line: string, say: (text: string) => void) => void): Server {
  return createServer((socket) => {
    socket.on('error', () => {});
    const say = (text: string): void => void socket.write(`${text}\r\n`);
    say(banner);
    createInterface(socket).on('line', (line) => reply(line, say));
  });
}

/** RFC 5321. */
export function smtpServer(): Server {
  return lineServer('220 demo.test ESMTP', (line, say) => {
    const verb = line.split(' ', 1)[0]?.toUpperCase();
    if (verb === 'DATA') say('354 go on');
    else if (verb === 'QUIT') say('221 bye');
    else if (verb === '.') say('250 taken');
    else if (['EHLO', 'MAIL', 'RCPT'].includes(verb ?? '')) say('250 ok');
  });
}

/** RFC 3501. */
export function imapServer(): Server {
  return lineServer('* OK IMAP4rev1 ready', (line, say) => {
    const [tag, verb] = line.split(' ');
    if (verb === 'CAPABILITY') say('* CAPABILITY IMAP4rev1');
    if (verb === 'LIST') say('* LIST () "/" INBOX');
    if (verb === 'LOGOUT') say('* BYE');
    say(`${tag} OK done`);
  });
}

/** Apache, PostgreSQL and Redis. Resolves when all take connections; ended with the returned function, or with this process. */
export async function startPrograms(directory: string): Promise<() => Promise<void>> {
  const here = join(directory, 'apache');
  const data = join(here, 'postgres');
  const postgres = postgresDirectory();
  const asCaller = { uid: CALLER_UID, gid: CALLER_UID };
  const initdb = `${postgres}/initdb -D ${data} -A trust -U demo -E UTF8 --no-sync`;
  execFileSync('/bin/sh', ['-c', initdb], { ...asCaller, cwd: here, env: {}, stdio: 'pipe' });
  appendFileSync(join(data, 'pg_hba.conf'), `host all all ${ORIGIN_ADDRESS}/24 trust\n`);
  const start = (line: string, options: SpawnOptions): ChildProcess =>
    spawn('setpriv', ['--pdeathsig=INT', '--', ...line.split(' ')], {
      stdio: ['ignore', 'ignore', 'inherit'],
      ...options,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...options.env },
    });
  const address = `${ORIGIN_ADDRESS}:${PORTS.files}`;
  const children = [
    start(`apache2 -D FOREGROUND -f ${import.meta.dirname}/apache.conf`, {
      env: { HERE: directory, UID: String(CALLER_UID), ADDRESS: address },
    }),
    start(
      `${postgres}/postgres -D ${data} -h ${ORIGIN_ADDRESS} -p ${PORTS.postgres} -c unix_socket_directories= -c fsync=off -c log_min_messages=fatal`,
      asCaller,
    ),
    start(
      `redis-server --bind ${ORIGIN_ADDRESS} --port ${PORTS.redis} --protected-mode no --dir ${here} --save  --loglevel warning`,
      asCaller,
    ),
  ];
  for (const port of [PORTS.files, PORTS.postgres, PORTS.redis]) await untilTaken(port, children);
  return async () => {
    await Promise.all(children.map(endChild));
  };
}

/** Of the newest version; Debian keeps the servers out of PATH. */
function postgresDirectory(): string {
  const versions = readdirSync('/usr/lib/postgresql').sort((one, other) => Number(other) - Number(one));
  return join('/usr/lib/postgresql', versions[0] ?? '', 'bin');
}

const START_DEADLINE_MS = 30_000;
const RETRY_MS = 50;

async function untilTaken(port: number, children: readonly ChildProcess[]): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    const ended = children.find(({ exitCode }) => exitCode !== null);
    if (ended !== undefined) throw new Error(`${ended.spawnfile} ended with ${ended.exitCode}`);
    if (await answers(port)) return;
    if (Date.now() > deadline) throw new Error(`nobody listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, ORIGIN_ADDRESS);
    const settle = (found: boolean): void => {
      socket.destroy();
      resolve(found);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}

/** All three end their own children when they are told to. */
async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  // PostgreSQL calls it a fast shutdown.
  child.kill('SIGINT');
  await once(child, 'exit');
}

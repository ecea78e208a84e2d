/** Protocols that are not HTTP, at endpoints with `protocol: tcp`; most of their servers speak first. */

import type { Client } from './client.ts';
import { RAW } from './places.ts';

export const RAW_CLIENTS: readonly Client[] = [
  {
    name: 'psql',
    ways: ['direct'],
    tls: ['closed'],
    script: `psql -X -A -t -h ${RAW} -U demo -d postgres -c 'select 6 * 7' -c "select repeat('x', 3000000)" | sort -u | cut -c -5`,
    prints: /^42\nxxxxx$/m,
    refused: 'psql -X -h $REFUSED_HOST -U demo -d postgres -c "select 1"',
    says: { name: /could not translate host name/ },
  },
  {
    name: 'redis-cli',
    ways: ['direct'],
    tls: ['closed'],
    script: `redis-cli -h ${RAW} set answer 42; redis-cli -h ${RAW} get answer; seq 5000 | sed 's/.*/incr n/' | redis-cli -h ${RAW} --pipe | tail -n 1`,
    prints: /^OK\n42\nerrors: 0, replies: 5000$/m,
    refused: 'redis-cli -h $REFUSED_HOST get answer',
    says: { name: /Could not connect to Redis/ },
  },
  {
    name: 'ssh',
    ways: ['direct'],
    tls: ['closed'],
    script: `ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR demo@${RAW} fetch it`,
    prints: /^asked for fetch it$/m,
    refused: 'ssh -o BatchMode=yes -o StrictHostKeyChecking=no demo@$REFUSED_HOST',
    says: { name: /Could not resolve hostname/ },
  },
  {
    name: 'curl, sending and reading mail',
    tls: ['closed'],
    script: `printf 'Subject: x\\r\\n\\r\\nhello\\r\\n' > mail; curl -sS --mail-from a@demo.test --mail-rcpt b@demo.test -T mail smtp://${RAW} && curl -sS imap://${RAW}/ && echo sent`,
    prints: /^\* LIST \(\) "\/" INBOX\r?\nsent$/m,
    refused: 'curl -sS imap://$REFUSED_HOST/',
    says: { tunnel: /response 403/, name: /Could not resolve host/ },
  },
];

/** One row of a table as tests: in each way, with each treatment of TLS, and for core clients without root too. */
import { describe, expect, it } from 'vitest';
import {
  type AuditEvent,
  auditEvents,
  finish,
  isRoot,
  type Mode,
  prepare,
  run,
  useWorld,
  writePolicy,
} from '../e2e/sandbox.ts';
import type { World } from '../fakes/world.ts';
import { BETWEEN, type Client, commandOf, POLICY, READABLE, type Tls, type Way } from './client.ts';
import { makeMaterials } from './materials.ts';
import { HOSTS } from './places.ts';

interface Case {
  readonly client: Client;
  readonly mode: Mode;
  readonly way: Way;
  readonly tls: Tls;
}

function casesOf(clients: readonly Client[]): [string, Case][] {
  return clients.flatMap((client) =>
    (['root', ...(client.core ? ['rootless' as const] : [])] as const).flatMap((mode) =>
      (client.ways ?? (['proxy', 'direct'] as const)).flatMap((way) =>
        (client.tls ?? (['closed', 'opened'] as const)).map((tls): [string, Case] => [
          `${client.name}: ${way}, TLS ${tls}, ${mode}`,
          { client, mode, way, tls },
        ]),
      ),
    ),
  );
}

/** Every row in a world of the file's own. */
export function testClients(clients: readonly Client[]): void {
  const world = useWorld({
    origin: `${import.meta.dirname}/origin.ts`,
    names: HOSTS,
    furnish: makeMaterials,
  });
  describe.skipIf(!isRoot)('needs root to make the test world', () => {
    it.each(casesOf(clients))('%s', (_, given) => check(world(), given));
  });
}

/** Chromium keeps shared memory there. */
const SHARED_MEMORY = '/dev/shm';

async function check(world: World, { client, mode, way, tls }: Case): Promise<void> {
  const setup = prepare(world, mode);
  const policy = writePolicy(setup, POLICY, '', READABLE, [SHARED_MEMORY]);
  const { stdout, stderr } = await finish(run(setup, commandOf(client, way, tls, setup.work), { policy }));
  const [allowed = '', refused = ''] = stdout.split(`${BETWEEN}\n`);
  expect(allowed, stderr).toMatch(client.prints);
  if (client.refused === undefined) return;
  const by = tls === 'opened' ? 'request' : way === 'proxy' ? 'tunnel' : 'name';
  expect(refused, stderr).toMatch(client.says?.[by] ?? /(?!)/);
  expect(refused).not.toContain('REACHED');
  expect(auditEvents(setup).filter((event) => isRefusal(event, by))).not.toEqual([]);
}

/** As the log tells it: a request or a tunnel that was denied, or a name that was not answered. */
function isRefusal({ class_uid, action, message }: AuditEvent, by: 'request' | 'tunnel' | 'name'): boolean {
  if (action !== 'Denied' || !/forbidden|readonly/.test(message)) return false;
  // In the clear, the proxy is asked for each request.
  return { request: [4002], tunnel: [4001, 4002], name: [4003] }[by].includes(class_uid);
}

/** One sandbox in two containers of a pod. Takes root. */
import { afterEach, describe, expect, test } from 'vitest';
import { makePod, type Pod, PROXY_UID, SANDBOX_UID } from './pod.ts';
import { ALLOW_CURL, castellan, finish, isRoot, useWorld } from './sandbox.ts';

const world = useWorld();
let pod: Pod;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

describe.skipIf(!isRoot)('a pod', () => {
  test.each(['plain', 'root'] as const)(
    '%s sidecar: allowed, refused, identified, one chain',
    async (kind) => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = await pod.sidecar(kind, ['--sandbox-uid', String(SANDBOX_UID)]);
      const ended = finish(sidecar);
      const agent = await finish(
        pod.agent([
          'sh',
          '-c',
          `id -u; curl -sS https://allowed.demo.test:8443/a; curl -sS https://forbidden.demo.test:8443/; exit 7`,
        ]),
      );
      expect(agent).toMatchObject({ code: 7 });
      expect(agent.stdout).toContain('GET allowed.demo.test:8443 /a');
      expect(await ended).toMatchObject({ code: 0 });
      console.log(agent, await ended);
      for (const e of pod.events()) console.log(e.class_uid, e.message, e.status_detail ?? '');
      void castellan;
      void PROXY_UID;
    },
  );
});

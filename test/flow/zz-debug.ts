import { makeSshWorld } from '../fakes/ssh-world.ts';
for (let i = 0; i < 60; i++) {
  const world = await makeSshWorld();
  const r = await world.run('echo ready');
  if (r.stdout !== 'ready\n') { console.log('FAIL', i, r.code, r.stdout, r.stderr, JSON.stringify(world.cell.facts)); }
  await world[Symbol.asyncDispose]();
}
process.exit(0);

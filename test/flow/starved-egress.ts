/** Run by egress-lessons.test.ts under a limit of few descriptors: tells its port, and serves until it is killed. */
import { startWorld } from './egress-world.ts';

const world = await startWorld([]);
console.log(world.proxyPort);

/** The main process alone: `node main-process.ts COMMAND…` in a cell of its own, with this process's streams. */
import { startMainProcess } from '../../src/session/main-process.ts';
import { makeCell } from './cell.ts';

using world = makeCell();
const { stdin, stdout, stderr } = process;
const main = await startMainProcess({
  launcher: world.launcher,
  cell: world.cell,
  argv: process.argv.slice(2),
  environment: { GIVEN: 'yes' },
  terminalName: process.env['TERM'],
  stdin,
  stdout,
  stderr,
  retain: undefined,
});
process.on('SIGTERM', () => main.signal('SIGTERM'));
process.exitCode = (await main.ended).exitCode;

'use strict';
// Lets the code of a role run as the loader would, and writes down which of its functions were called.
//   rehearse.cjs DIRECTORY TARGET WORD…   as castellan.cjs WORD… of the directory app/ of a bundle
const { readFileSync, writeFileSync } = require('node:fs');
const { Session } = require('node:inspector');
const { join } = require('node:path');
const { compileFunction } = require('node:vm');

const [node, , directory, target, ...words] = process.argv;
process.argv = [node, join(directory, 'castellan.cjs'), ...words];

const session = new Session();
session.connect();
session.post('Profiler.enable');
session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
process.once('exit', () =>
  session.post('Profiler.takePreciseCoverage', (_, { result }) => {
    const { functions } = result.find(({ url }) => /\/app\/(?:process|network)\.cjs$/.test(url));
    const called = functions.map(({ ranges: [whole] }) => whole).filter(({ count }) => count > 0);
    writeFileSync(
      target,
      JSON.stringify(called.map(({ startOffset, endOffset }) => [startOffset, endOffset])),
    );
  }),
);
const loader = readFileSync(join(directory, 'castellan.cjs'), 'utf8');
compileFunction(loader, ['require', '__dirname'])(require, directory);

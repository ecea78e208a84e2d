'use strict';
// Compiles the code of a role, and in it the functions that starts call, so that the loader need not. Run by the bundle's own Node with
// --predictable: V8 then lays the cache out the same way every time.
//   compile.cjs SOURCE TARGET < CALLED   where CALLED is what rehearse.cjs wrote
const { readFileSync, writeFileSync } = require('node:fs');
const { Session } = require('node:inspector');
const { pathToFileURL } = require('node:url');
const { Script } = require('node:vm');

const [, , filename, target] = process.argv;
const source = readFileSync(filename, 'latin1');
// From the outside inwards: V8 knows a function once the one around it is compiled.
const called = JSON.parse(readFileSync(0, 'utf8')).sort((a, b) => a[0] - b[0] || b[1] - a[1]);

const lineStarts = [0, ...Array.from(source.matchAll(/\n/g), ({ index }) => index + 1)];
let line = 0;
function positionOf(offset) {
  while (lineStarts[line] > offset) line -= 1;
  while (lineStarts[line + 1] <= offset) line += 1;
  return { lineNumber: line, columnNumber: offset - lineStarts[line] };
}

const script = new Script(source, { filename });
// Gives the function that the code is; nothing of it is called.
script.runInThisContext();
const session = new Session();
session.connect();
let scriptId;
session.on('Debugger.scriptParsed', ({ params }) => {
  if (params.url === pathToFileURL(filename).href) scriptId = params.scriptId;
});
session.post('Debugger.enable');
for (const [start, end] of called) {
  const range = { start: { scriptId, ...positionOf(start) }, end: { scriptId, ...positionOf(end) } };
  // Who wants to know where a function can be stopped has it compiled.
  session.post('Debugger.getPossibleBreakpoints', { ...range, restrictToFunction: true }, (error) => {
    if (error) throw new Error(`${JSON.stringify(range)}: ${error.message}`);
  });
}
session.post('Debugger.disable');
session.disconnect();
writeFileSync(target, script.createCachedData());

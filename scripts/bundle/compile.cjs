'use strict';
// Compiles the code of a role as the loader will ask for it. Run by the bundle's own Node with --predictable: V8 then lays the cache out
// the same way every time.
const { readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');

const [, , source, target] = process.argv;
writeFileSync(target, new Script(readFileSync(source, 'utf8'), { filename: source }).createCachedData());

'use strict';
// Compiles the code of a role as the loader will ask for it. Run by the bundle's own Node with --predictable: V8 then lays the cache out
// the same way every time. The loader's name for the script holds; the one here stays in the cache, and must not tell where it was made.
const { readFileSync, writeFileSync } = require('node:fs');
const { basename } = require('node:path');
const { Script } = require('node:vm');

const [, , source, target] = process.argv;
const script = new Script(readFileSync(source, 'utf8'), { filename: basename(source) });
writeFileSync(target, script.createCachedData());

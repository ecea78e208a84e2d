'use strict';
// What Node starts in a bundle: the code of one role, compiled beforehand. Nothing is looked up in any node_modules, which an
// image could bring.
const { readFileSync } = require('node:fs');
const { isBuiltin } = require('node:module');
const { dirname, join } = require('node:path');
const { Script } = require('node:vm');

const filename = join(__dirname, process.argv[2] === 'network-role' ? 'network.cjs' : 'process.cjs');

const addons = new Map();

function load(name) {
  if (isBuiltin(name)) return require(name);
  if (/^\.\.\/native\/[a-z]+\.node$/.test(name)) return loadAddon(join(dirname(__dirname), name.slice(3)));
  throw Object.assign(new Error(`${name} is not part of castellan`), { code: 'MODULE_NOT_FOUND' });
}

// Not by require(), which would look for a package.json all the way up.
function loadAddon(path) {
  const module = addons.get(path) ?? { exports: {} };
  if (!addons.has(path)) process.dlopen(module, path);
  addons.set(path, module);
  return module.exports;
}

const script = new Script(readFileSync(filename, 'utf8'), {
  filename,
  // A cache that does not fit is passed over by V8: the code is then compiled as it is used.
  cachedData: readFileSync(filename.replace(/cjs$/, 'cache')),
});
script.runInThisContext()(load, { exports: {} }, filename, __dirname);

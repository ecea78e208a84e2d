'use strict';
// What Node starts in a bundle: the code of one role, compiled beforehand. Nothing is looked up in any node_modules, which an
// image could bring.
const { readFileSync } = require('node:fs');
const { isBuiltin } = require('node:module');
const { dirname, join } = require('node:path');
const { Script } = require('node:vm');

const filename = join(__dirname, process.argv[2] === 'network-role' ? 'network.cjs' : 'process.cjs');

// Parts of Node that take a millisecond or more to load, and that not every start uses: they come with the first use of what they export.
const LATE = /^(?:node:)?(?:crypto|dns\/promises|fs\/promises|http2|https|tls|zlib)$/;
// Of node:crypto; packages take them out of it while they are loaded themselves.
const LATE_FUNCTIONS = ['createHash', 'randomBytes', 'randomFillSync'];

const addons = new Map();

function load(name) {
  if (isBuiltin(name)) return LATE.test(name) ? late(name) : require(name);
  if (/^\.\.\/native\/[a-z]+\.node$/.test(name)) return loadAddon(join(dirname(__dirname), name.slice(3)));
  throw Object.assign(new Error(`${name} is not part of castellan`), { code: 'MODULE_NOT_FOUND' });
}

function late(name) {
  let loaded;
  const module = () => (loaded ??= require(name));
  return new Proxy(Object.create(null), {
    get: (_, key) =>
      loaded === undefined && LATE_FUNCTIONS.includes(key)
        ? (...values) => module()[key](...values)
        : module()[key],
    has: (_, key) => key in module(),
    ownKeys: () => Reflect.ownKeys(module()),
    getOwnPropertyDescriptor(_, key) {
      const property = Object.getOwnPropertyDescriptor(module(), key);
      // What the stand-in does not have itself has to be configurable.
      return property && { ...property, configurable: true };
    },
  });
}

// Not by require(), which would look for a package.json all the way up.
function loadAddon(path) {
  const module = addons.get(path) ?? { exports: {} };
  if (!addons.has(path)) process.dlopen(module, path);
  addons.set(path, module);
  return module.exports;
}

// The code is ASCII throughout, which V8 keeps in a byte a character.
const script = new Script(readFileSync(filename, 'latin1'), {
  filename,
  // A cache that does not fit is passed over by V8: the code is then compiled as it is used.
  cachedData: readFileSync(filename.replace(/cjs$/, 'cache')),
});
script.runInThisContext()(load, { exports: {} }, filename, __dirname);

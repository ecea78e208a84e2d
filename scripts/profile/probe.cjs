'use strict';
// What Node starts in a copy of a bundle that is measured, in the place of the loader, which it then loads. Sends what it saw to a
// socket at the end: moments on the machine's monotonic clock, and the profile of V8 where one was asked for.
const { readFileSync, writeSync } = require('node:fs');
const { connect } = require('node:net');
const { subscribe } = require('node:diagnostics_channel');
const children = require('node:child_process');
const { performance } = require('node:perf_hooks');
const { basename, join } = require('node:path');
const { compileFunction } = require('node:vm');

const { socketPath, profiled } = JSON.parse(readFileSync(join(__dirname, 'probe.json'), 'utf8'));

const role = process.argv[2] === 'network-role' ? 'network' : 'process';
const moments = [];
const now = () => Number(process.hrtime.bigint()) / 1e6;
const see = (what) => moments.push({ role, at: now(), what });
const origin = now() - performance.now();
for (const [name, what] of Object.entries({ nodeStart: 'Node starts', bootstrapComplete: 'Node is up' }))
  moments.push({ role, at: origin + performance.nodeTiming[name], what });
see('the probe runs');

const socket = connect(socketPath).unref();
socket.on('error', () => {});
subscribe('castellan:stage', ({ name, begins }) => see(`${name}${begins ? ' …' : ' done'}`));

const { spawn } = children;
children.spawn = (program, ...rest) => {
  see(`spawn ${basename(program)}`);
  const child = spawn(program, ...rest);
  see(`spawned ${basename(program)} ${child.pid}`);
  child.once('exit', () => see(`exit ${child.pid} ${basename(program)}`));
  return child;
};

let session;
if (profiled) {
  const { Session } = require('node:inspector');
  session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.setSamplingInterval', { interval: 100 });
  session.post('Profiler.start');
}
process.once('exit', () => {
  see('Node leaves');
  let profile;
  session?.post('Profiler.stop', (_, result) => {
    profile = result?.profile;
  });
  const bytes = Buffer.from(JSON.stringify({ role, moments, profile }));
  for (let sent = 0; sent < bytes.length; )
    try {
      sent += writeSync(socket._handle.fd, bytes, sent);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
});

// Not by require(), which would look for a package.json where the network role may not read.
compileFunction(readFileSync(join(__dirname, 'loader.cjs'), 'utf8'), ['require', '__dirname'])(
  require,
  __dirname,
);
see('the code is loaded');

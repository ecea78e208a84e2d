/**
 * castellan's egress in a process of its own, without a sandbox: its real pipeline, with stand-ins for what a sandbox gives it.
 * Identities are not looked up, loopback may be dialled, and facts are written as on the wire, to nobody.
 */
import { readFileSync } from 'node:fs';
import { startEgress } from '../../src/egress/egress.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { parsePolicy } from '../../src/policy/parse.ts';

const [port, tlsPort, roots] = process.argv.slice(2);
const PROGRAM = '/usr/bin/bench';
const policy = `version: 1
network_policies:
  tunnels: {endpoints: [{host: tunnel.test, port: ${port}, protocol: tcp}], binaries: [{path: ${PROGRAM}}]}
  api:
    endpoints:
      - {host: api.test, port: ${port}, protocol: rest, rules: [{allow: {method: GET, path: /v1/**}}]}
      - {host: api.test, port: ${tlsPort}, protocol: rest, rules: [{allow: {method: GET, path: /v1/**}}]}
    binaries: [{path: ${PROGRAM}}]
`;
const identity = {
  pid: 1,
  startTime: '1',
  uid: 1000,
  executable: PROGRAM,
  sha256: '0'.repeat(64),
  ancestors: [],
  ancestorHashes: [],
};
const ending = new AbortController();
let written = 0;
const egress = await startEgress({
  listeners: { proxy: [{ host: '127.0.0.1', port: 0 }], transparent: [], dnsUdp: [], dnsTcp: [] },
  decider: compilePolicy(parsePolicy(policy, 'bench').network),
  roots: [readFileSync(roots ?? '', 'utf8')],
  identify: async () => ({ ok: true, identity }),
  resolve: async () => ['127.0.0.1'],
  check: (_verdict, _host, _port, addresses) => ({ ok: true, addresses }),
  report: (fact) => {
    written += JSON.stringify({ type: 'fact', fact }).length;
  },
  signal: ending.signal,
});
console.log(JSON.stringify({ port: egress.addresses.proxy[0]?.port, authority: egress.authority }));
process.stdin.on('end', async () => {
  ending.abort();
  console.log(written);
});
process.stdin.resume();

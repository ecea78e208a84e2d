import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { ValiError } from 'valibot';
import type { AuditFact } from '../../../src/audit/event.ts';
import { CastellanError } from '../../../src/errors.ts';
import { parseSeccompTable } from '../../../src/launch/seccomp-table.ts';
import { errnoName, parseStatus } from '../../../src/launch/status.ts';
import { openChannel } from '../../../src/roles/channel.ts';
import { MAX_CONTROL_FRAME_BYTES } from '../../../src/roles/control/bounds.ts';
import type { FromProcessRole, FromSidecar } from '../../../src/roles/control/message.ts';
import { parseFromProcessRole, parseFromSidecar } from '../../../src/roles/control/parse.ts';
import { openProcessEnd } from '../../../src/roles/control/process-end.ts';
import { openSidecarEnd } from '../../../src/roles/control/sidecar-end.ts';
import { MAX_FRAME_BYTES, WIRE_VERSION } from '../../../src/roles/message.ts';
import { parseToNetworkRole, parseToProcessRole } from '../../../src/roles/parse.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

const FLOW = '{"family":4,"localAddress":"10.0.0.1","localPort":1,"remoteAddress":"10.0.0.2","remotePort":2}';
const IDENTITY = `{"pid":2,"startTime":"5","uid":7,"executable":"/b","sha256":"${'a'.repeat(64)}","ancestors":["/c"],"ancestorHashes":[""]}`;
const INTENT = `{"connectionId":"a-1.2","adapter":"connect","host":"a","port":1,"flow":${FLOW},"startedAt":1.5,"http":{"method":"GET","path":"/","scheme":"http"}}`;
const TO_PROCESS = [
  '{"type":"hello","version":4,"pid":3}',
  '{"type":"ready","authority":"x"}',
  `{"type":"identify","id":1,"flow":${FLOW}}`,
  `{"type":"fact","fact":{"kind":"connection-closed","intent":${INTENT},"identity":${IDENTITY},"rule":"r","address":"1.2.3.4","bytesOut":1,"bytesIn":2,"durationMs":3,"httpStatus":200}}`,
  '{"type":"fact","fact":{"kind":"dns-refused","name":"a","type":"A","source":{"address":"::1","port":5},"rcode":5,"repeats":2}}',
  `{"type":"fact","fact":{"kind":"policy-proposal","state":"pending","intent":${INTENT},"identity":${IDENTITY},"id":"6fa459ea-ee8a-4ca4-894e-db77e160355e","ruleName":"r","summary":"s","yaml":"y","grants":["g"],"notes":[]}}`,
  '{"type":"fact","fact":{"kind":"denials-counted","since":1,"total":2,"unlisted":1,"denials":[{"host":"a","port":1,"binary":"/b","reason":"no_policy","count":1,"firstSeen":1,"lastSeen":2,"requests":["GET /"]}]}}',
  '{"type":"figures","id":1,"figures":{"cpuSeconds":0.5,"residentBytes":1,"heapBytes":1,"openDescriptors":9,"lagP99Seconds":0,"lagMaxSeconds":0,"clients":1,"splicedTunnels":0,"liveArriving":0,"liveUnread":0,"liveOpened":0,"liveRequests":0,"lookupsRunning":0,"lookupsWaiting":0,"namesRemembered":0,"identificationsWaiting":0}}',
];
const INSPECTION =
  '{"enforcement":"enforce","allow":[{"kind":"http","method":"GET","path":"/","query":[{"key":"k","any":["v"]}],"position":{"line":1,"column":1}}],"deny":[],"allowEncodedSlash":false,"maxBodyBytes":5,"persistedQueries":{"x":{"type":"query","name":"","fields":["a"]}},"strictToolNames":true,"allowKnownMethods":false}';
const RULES = `[{"name":"r","position":{"line":1,"column":1},"binaries":[{"path":"/b"}],"endpoints":[{"host":"a","ports":[1],"allowedIps":[],"position":{"line":1,"column":1},"protocol":"graphql","inspection":${INSPECTION}}]}]`;
const TO_NETWORK = [
  `{"type":"policy","generation":1,"rules":${RULES}}`,
  `{"type":"start","version":${WIRE_VERSION},"secrets":{"credentials":5},"listeners":{"proxy":[0],"transparent":[1],"dnsUdp":[2],"dnsTcp":[3],"nflog":4},"takesProposals":true,"policy":{"generation":0,"mayChange":true,"rules":[]}}`,
  `{"type":"answer","id":1,"result":{"ok":true,"identity":${IDENTITY}}}`,
  '{"type":"measure","id":1}',
  '{"type":"stop"}',
];
const PARTS =
  '{"filesystem":{"includeWorkdir":true,"readOnly":["/usr"],"readWrite":["/tmp"]},"landlock":{"compatibility":"best_effort","connectPorts":[443]},"process":{"runAsUser":"sandbox"},"seccomp":{"relax":["netlink"]}}';
const CONTAINER_POLICY = `"generation":1,"parts":${PARTS},"binaries":["/usr/bin/python3"]`;
const PROCESS =
  '{"pid":3,"argv":["sh","-c","x"],"uid":7,"gid":7,"user":"u","kind":"exec","sessionId":"ssh-1/0"}';
const PEER = '{"pid":3,"uid":7,"gid":7}';
const FROM_SIDECAR = [
  '{"type":"hello","role":"network","version":1,"pid":3,"uid":1337}',
  `{"type":"setup","proxyPort":3128,"policy":{${CONTAINER_POLICY}},"authority":"x","placeholders":{"TOKEN":"openshell:resolve:env:TOKEN"}}`,
  `{"type":"policy",${CONTAINER_POLICY}}`,
  `{"type":"identify","id":1,"flow":${FLOW}}`,
  '{"type":"begin"}',
  '{"type":"recorded"}',
];
const FROM_PROCESS = [
  '{"type":"hello","role":"process","version":1,"pid":3,"uid":7,"pidNamespace":"pid:[1]","token":"ff"}',
  '{"type":"policy-applied","generation":1,"targets":{"/bin/sh":"/usr/bin/dash"}}',
  `{"type":"answer","id":1,"result":{"ok":true,"identity":${IDENTITY}}}`,
  `{"type":"fact","fact":{"kind":"process-exited","process":${PROCESS},"exitCode":3,"signal":"SIGKILL","durationMs":1.5}}`,
  `{"type":"fact","fact":{"kind":"ssh-refused","sessionId":"ssh-1","peer":${PEER},"reason":"r"}}`,
  '{"type":"fact","fact":{"kind":"control-degraded","control":"landlock","reason":"r","remedy":"m"}}',
  '{"type":"ended","exitCode":3,"reason":"r"}',
];
const WORDS = [
  'null',
  '-1',
  '1e400',
  '0.5',
  '[]',
  '{}',
  '"__proto__":',
  '"constructor":',
  '"type":',
  '\\u0000',
  '"kind":"fatal"',
  '99999999999999999999',
];

function wireTarget(name: string, seeds: readonly string[], parse: (value: unknown) => object): Target {
  return textTarget({
    name,
    seeds,
    words: WORDS,
    maxBytes: 32 * 1024,
    check(text) {
      const value: unknown = returnsOr(
        () => JSON.parse(text),
        (error) => error instanceof SyntaxError,
      );
      const parsed = returnsOr(
        () => parse(value),
        (error) => error instanceof ValiError,
      );
      if (parsed === undefined) {
        assert.ok(!seeds.includes(text), 'a seed is no message any more');
        return;
      }
      // Nothing is made up, nothing left out, and what was taken is taken again.
      assert.deepEqual(JSON.parse(JSON.stringify(parsed)), JSON.parse(JSON.stringify(value)));
      assert.deepEqual(parse(JSON.parse(JSON.stringify(parsed))), parsed);
    },
  });
}

/** A socket whose other end is the test: each chunk is read by itself, as it would come from a network. */
class FakeSocket extends Duplex {
  constructor() {
    super({ readableObjectMode: true });
  }

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
}

/** How frames are cut on their way is nothing that the reader may see. */
const channel = choiceTarget({
  name: 'channel',
  async check(choices) {
    const messages = choices.list(5, () => ({ text: choices.text('ab"\\é', 40) }));
    const frames = messages.map((message) => {
      const payload = Buffer.from(JSON.stringify(message));
      const frame = Buffer.alloc(4 + payload.length);
      frame.writeUInt32BE(payload.length);
      payload.copy(frame, 4);
      return frame;
    });
    const broken = choices.pick([
      undefined,
      Buffer.from([255, 255, 255, 255]),
      Buffer.from([0, 0, 0, 1, 0x7b]),
      Buffer.from([0, 0]),
    ]);
    const stream = Buffer.concat([...frames, ...(broken === undefined ? [] : [broken])]);
    const socket = new FakeSocket();
    const { messages: receive, closed } = openChannel(socket as unknown as Socket, (value) => value);
    for (let at = 0; at < stream.length; ) {
      const size = 1 + choices.below(40);
      socket.push(stream.subarray(at, at + size));
      at += size;
    }
    socket.push(null);
    const received: unknown[] = [];
    for await (const message of receive()) received.push(message);
    assert.deepEqual(received, messages);
    const error = await closed;
    assert.equal(error.code, 'role_lost');
    assert.equal(error.message === 'the wire was closed', broken === undefined);
  },
});

/** Lengths that are announced, of frames that never come: nothing is kept for them. */
const frameLength: Target = {
  name: 'frame-length',
  seeds: [Uint8Array.of(0, 0, 0, 2, 0x7b, 0x7d), Uint8Array.of(0, 0x80, 0, 0), Uint8Array.of(0, 0x80, 0, 1)],
  maxBytes: 64 * 1024,
  async check(input) {
    const socket = new FakeSocket();
    const { messages, closed, limitFrames } = openChannel(socket as unknown as Socket, (value) => value);
    let limit = MAX_FRAME_BYTES;
    limitFrames(() => limit);
    socket.push(input);
    socket.push(null);
    for await (const message of messages()) {
      const bytes = Buffer.byteLength(JSON.stringify(message));
      assert.ok(bytes <= 6 * limit, 'a frame beyond its limit was taken');
      // As phases do.
      limit = 64;
    }
    const error = await closed;
    assert.ok(error instanceof CastellanError && error.code === 'role_lost');
    const announced = input.length >= 4 ? Buffer.from(input).readUInt32BE() : 0;
    if (announced > MAX_FRAME_BYTES) assert.match(error.message, /too large/);
  },
};

/** A wire whose sidecar has sent its setup; what it sends goes nowhere. */
function controlEnd(socket: FakeSocket, facts: AuditFact[]) {
  const channel = openChannel<FromSidecar, FromProcessRole>(
    socket as unknown as Socket,
    parseFromProcessRole,
    {
      maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
    },
  );
  return openSidecarEnd(
    { channel, messages: channel.messages(), peer: { pid: 7, uid: 7, gid: 7 } },
    { proxyPort: 3128, placeholders: {}, policy: { parts: JSON.parse(PARTS), binaries: ['/bin/sh'] } },
    (fact) => facts.push(fact),
  );
}

/** Whole conversations of a process role that lies: in any order, any number, cut anywhere, with lengths beyond what may come. */
const controlFromProcess = choiceTarget({
  name: 'control-from-process',
  async check(choices) {
    const socket = new FakeSocket();
    const facts: AuditFact[] = [];
    const end = controlEnd(socket, facts);
    let questions = 0;
    const ask = (): void => {
      questions += 1;
      void end.identify(JSON.parse(FLOW));
    };
    const saidFacts: string[] = [];
    let answers = 0;
    let applied = 0;
    const parts: Buffer[] = [];
    for (const step of choices.list(24, () => choices.below(12))) {
      const text = choices.pick(FROM_PROCESS.slice(1).concat('{"type":"ready"}'));
      if (step === 0) end.begin();
      else if (step === 1) ask();
      else if (step === 2) parts.push(lengthOnly(choices.pick([0, 8193, 327_681, 2 ** 22 + 1, 2 ** 31])));
      else {
        parts.push(framed(text));
        if (text.includes('"fact"')) saidFacts.push(text);
        if (text.includes('"answer"')) answers += 1;
        if (text.includes('"policy-applied"')) applied += 1;
      }
    }
    const stream = Buffer.concat(parts);
    for (let at = 0; at < stream.length; ) {
      const size = 1 + choices.below(2000);
      socket.push(stream.subarray(at, at + size));
      at += size;
    }
    socket.push(null);
    const error = await end.closed;
    assert.equal(error.code, 'role_lost');
    await Promise.allSettled([end.ready, end.ended, end.prepared]);
    const told = facts.filter((fact) => fact.kind !== 'internal-error');
    assert.ok(told.length <= saidFacts.length, 'a fact was made up');
    // Each as it was said, in order.
    for (const [index, fact] of told.entries())
      assert.deepEqual({ type: 'fact', fact }, JSON.parse(saidFacts[index] ?? ''));
    if (error.message === 'the wire was closed')
      assert.ok(answers <= questions && applied <= 1, 'an answer to nothing was taken');
  },
});

/** And of a sidecar that lies to a process role. */
const controlFromSidecar = choiceTarget({
  name: 'control-from-sidecar',
  async check(choices) {
    const socket = new FakeSocket();
    const channel = openChannel<FromProcessRole, FromSidecar>(socket as unknown as Socket, parseFromSidecar, {
      maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
    });
    let looks = 0;
    const end = openProcessEnd(
      { channel, messages: channel.messages() },
      {
        identify: async () => ({ ok: false, reason: String(++looks) }),
        followLinks: async (paths) => Object.fromEntries(paths.map((path) => [path, '/t'])),
        onStop: () => {},
      },
    );
    let begun = false;
    void end.begun.then(
      () => {
        begun = true;
      },
      () => {},
    );
    const said = choices.list(16, () =>
      choices.pick([...FROM_SIDECAR.slice(1), '{"type":"stop"}', 'length']),
    );
    for (const one of said)
      socket.push(one === 'length' ? lengthOnly(choices.pick([0, 2 ** 22 + 1, 2 ** 32 - 1])) : framed(one));
    socket.push(null);
    const error = await end.closed;
    assert.equal(error.code, 'role_lost');
    await Promise.allSettled([end.setup, end.begun]);
    const setup = said.findIndex((one) => one.includes('"setup"'));
    const begin = said.findIndex((one) => one.includes('"begin"'));
    if (begun) assert.ok(setup >= 0 && begin > setup, 'the command would run without a setup');
    assert.ok(looks <= said.filter((one) => one.includes('"identify"')).length);
    await assert.rejects(end.end(0, ''));
  },
});

function framed(text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([lengthOnly(payload.length), payload]);
}

function lengthOnly(bytes: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes);
  return length;
}

const launchStatus: Target = {
  name: 'launch-status',
  seeds: [Uint8Array.of(1, 0, 0, 0, 13, 0, 0, 0, 0x2f, 0x61), Uint8Array.of(18, 0, 0, 0, 2, 0, 0, 0)],
  maxBytes: 263,
  check(input) {
    const status = returnsOr(
      () => parseStatus(input),
      (error) => error instanceof RangeError,
    );
    if (input.length === 0) return;
    if (status !== undefined) assert.ok(input.length >= 8 && errnoName(status.errno).length > 0);
  },
};

const seccompTable = textTarget({
  name: 'seccomp-table',
  seeds: ['# c\nbpf EPERM - all - # why\nclone EPERM 0&0x7e020000 agent ns # no namespaces\n'],
  words: ['#', ' ', '\t', '\n', ' # '],
  maxBytes: 32 * 1024,
  check(text) {
    const rows = returnsOr(
      () => parseSeccompTable(text),
      (error) => error instanceof RangeError,
    );
    for (const { call, error } of rows ?? []) assert.match(call + error, /^\S+$/);
  },
});

export const WIRE_TARGETS: readonly Target[] = [
  wireTarget('to-process-role', TO_PROCESS, parseToProcessRole),
  wireTarget('to-network-role', TO_NETWORK, parseToNetworkRole),
  wireTarget('from-sidecar', FROM_SIDECAR, parseFromSidecar),
  wireTarget('from-process-role', FROM_PROCESS, parseFromProcessRole),
  channel,
  frameLength,
  controlFromProcess,
  controlFromSidecar,
  launchStatus,
  seccompTable,
];

import { expect, test } from 'vitest';
import type { SignalName } from '../../../src/config/surroundings.ts';
import { openSignalInbox } from '../../../src/start/signals.ts';

/** An inbox, the process's signals, and what was handed over. */
function open() {
  let send = (_name: SignalName): void => {};
  const inbox = openSignalInbox((listener) => {
    send = listener;
    return { [Symbol.dispose]() {} };
  });
  const taken: SignalName[] = [];
  return {
    inbox,
    taken,
    send: (name: SignalName) => send(name),
    take: () => inbox.take((name) => taken.push(name)),
  };
}

test.each<[string, readonly (SignalName | 'ask')[], readonly SignalName[]]>([
  ['a wish by other means is a TERM', ['ask'], ['SIGTERM']],
  ['the signal of the same shutdown does not hurry it', ['ask', 'SIGTERM'], ['SIGTERM']],
  ['a second signal does', ['ask', 'SIGTERM', 'SIGINT'], ['SIGTERM', 'SIGINT']],
  ['nor does the wish hurry a signal', ['SIGINT', 'ask'], ['SIGINT']],
  ['nor a second wish', ['ask', 'ask'], ['SIGTERM']],
  ['what asks for no end passes', ['ask', 'SIGUSR1', 'SIGTERM', 'SIGHUP'], ['SIGTERM', 'SIGUSR1', 'SIGHUP']],
])('%s', (_, came, want) => {
  for (const early of [true, false]) {
    const { inbox, taken, send, take } = open();
    if (early) take();
    for (const one of came) one === 'ask' ? inbox.ask() : send(one);
    if (!early) take();
    expect(taken).toEqual(want);
    expect(inbox.stopping.aborted).toBe(true);
  }
});

test('nothing is asked for before', () => {
  const { inbox, send } = open();
  send('SIGHUP');
  expect(inbox.stopping.aborted).toBe(false);
  inbox.ask();
  expect(inbox.stopRequest).toBe('SIGTERM');
});

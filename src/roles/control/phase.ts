import type { PhaseTable } from '../phase.ts';
import type { FromProcessRole, FromSidecar } from './message.ts';

/** What the sidecar accepts. It enters `waiting` by letting the command run. Questions and a policy may cross with `ready`, and answers with `ended`. */
export const FROM_PROCESS_ROLE: PhaseTable<FromProcessRole['type']> = {
  hello: { hello: 'starting' },
  starting: { fact: 'starting', answer: 'starting', 'policy-applied': 'starting', ended: 'ended' },
  waiting: {
    fact: 'waiting',
    answer: 'waiting',
    'policy-applied': 'waiting',
    ready: 'running',
    ended: 'ended',
  },
  running: { fact: 'running', answer: 'running', 'policy-applied': 'running', ended: 'ended' },
  stopping: {},
  ended: {},
};

/** What the process role accepts. It enters `stopping` by saying that everything has ended. */
export const FROM_SIDECAR: PhaseTable<FromSidecar['type']> = {
  hello: { hello: 'starting' },
  starting: { setup: 'waiting', stop: 'starting' },
  // Until the command may run.
  waiting: { begin: 'running', policy: 'waiting', identify: 'waiting', stop: 'waiting' },
  running: { policy: 'running', identify: 'running', stop: 'running' },
  stopping: {
    begin: 'stopping',
    policy: 'stopping',
    identify: 'stopping',
    stop: 'stopping',
    recorded: 'ended',
  },
  ended: {},
};

import type { Connection } from 'ssh2';
import type { ForwardRefusal } from '../../audit/event.ts';

/** SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 section 5.1. */
const CODES: Readonly<Record<ForwardRefusal, number>> = { prohibited: 1, failed: 2, shortage: 4 };

interface Failing {
  readonly _protocol: { channelOpenFail: (channel: number, code: number, description: string) => void };
}

/** Refuses a channel with its reason: ssh2 1.17 says of each that the connection failed, without a word. */
export function refuseOpen(
  connection: Connection,
  reject: () => void,
  why: ForwardRefusal,
  reason: string,
): void {
  const protocol = (connection as unknown as Failing)._protocol;
  const { channelOpenFail } = protocol;
  protocol.channelOpenFail = (channel) => channelOpenFail.call(protocol, channel, CODES[why], reason);
  try {
    reject();
  } finally {
    protocol.channelOpenFail = channelOpenFail;
  }
}

/** Refusals of channels that ssh2 1.17 has no words for: in its insides, without which a connection ends by the TypeError. */
import type { Connection } from 'ssh2';
import type { ForwardRefusal } from '../../audit/event.ts';
import type { ConnectionReport } from '../report.ts';

/** SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 section 5.1. */
const CODES: Readonly<Record<ForwardRefusal, number>> = { prohibited: 1, failed: 2, shortage: 4 };

/** No client asks for less than 4 KiB; of 0, ssh2 sends packets for ever, and of a few bytes it makes thousands before anything else runs. */
const MIN_PACKET_BYTES = 256;

interface Opening {
  readonly sender: number;
  readonly packetSize: number;
}

interface Insides {
  readonly _protocol: {
    channelOpenFail: (channel: number, code: number, description: string) => void;
    readonly _handlers: { CHANNEL_OPEN: (protocol: unknown, opening: Opening) => void };
  };
}

/** Refuses every channel to which nothing could be sent in reasonable packets. */
export function refuseTinyPackets(connection: Connection, report: ConnectionReport): void {
  const protocol = (connection as unknown as Insides)._protocol;
  const { CHANNEL_OPEN: open } = protocol._handlers;
  protocol._handlers.CHANNEL_OPEN = (from, opening) => {
    if (opening.packetSize >= MIN_PACKET_BYTES) return open(from, opening);
    const reason = `packets of ${opening.packetSize} bytes are too small`;
    report.refused(reason);
    protocol.channelOpenFail(opening.sender, CODES.prohibited, reason);
  };
}

/** Refuses a channel with its reason: ssh2 says of each that the connection failed, without a word. */
export function refuseOpen(
  connection: Connection,
  reject: () => void,
  why: ForwardRefusal,
  reason: string,
): void {
  const protocol = (connection as unknown as Insides)._protocol;
  const { channelOpenFail } = protocol;
  protocol.channelOpenFail = (channel) => channelOpenFail.call(protocol, channel, CODES[why], reason);
  try {
    reject();
  } finally {
    protocol.channelOpenFail = channelOpenFail;
  }
}

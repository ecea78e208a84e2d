import type { AuditFact, DetachReason, ForwardEnd } from '../event.ts';
import type { AuditContext, EventParts, Stamp } from './base.ts';
import { integer, peerEndpoint, spanOf, supervisor, trafficOf, userOf } from './objects.ts';

type SshFact = Extract<AuditFact, { kind: `ssh-${string}` }>;
type ForwardFact = Extract<SshFact, { kind: `ssh-forward-${string}` }>;

const DETACHED: Readonly<Record<DetachReason, string>> = {
  keys: 'the detach keys were pressed',
  gone: 'the client is gone',
  lagged: 'the client fell too far behind',
  exited: 'the main process ended',
};

const FORWARD_ENDED: Readonly<Record<ForwardEnd, string>> = {
  ended: 'both sides ended it',
  reset: 'the target reset it',
  closed: 'the client closed it',
  gone: 'the connection is gone',
};

/** SSH Activity [4007]: people at the sandbox's socket. Access is by the socket's permissions and the peer's credentials. */
export function sshActivity(fact: SshFact, stamp: Stamp, context: AuditContext): EventParts {
  const { sandboxId } = context;
  const destination = { uid: sandboxId, name: sandboxId, svc_name: 'ssh' };
  if (fact.kind === 'ssh-listening')
    return {
      class: 'ssh',
      activity: 7,
      severity: 1,
      success: true,
      message: `SSH listens on ${fact.path}`,
      body: { dst_endpoint: destination, actor: supervisor(context) },
      unmapped: { socket: fact.path },
    };
  const { sessionId, peer } = fact;
  const parts = {
    class: 'ssh',
    correlation: sessionId,
    body: {
      src_endpoint: peerEndpoint(peer),
      dst_endpoint: destination,
      connection_info: { uid: sessionId, direction_id: 1, direction: 'Inbound', protocol_name: 'unix' },
      auth_type_id: 99,
      auth_type: 'Peer Credentials',
      actor: {
        process: { pid: integer(peer.pid), uid: `pid:${peer.pid}` },
        user: { ...userOf(peer.uid, context), groups: [{ uid: String(peer.gid) }] },
        session: { uid: sessionId },
      },
    },
    unmapped: { peer_pid: peer.pid, peer_gid: peer.gid },
  } as const;
  switch (fact.kind) {
    case 'ssh-opened':
      return {
        ...parts,
        activity: 1,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `SSH session ${sessionId} by uid ${peer.uid}`,
      };
    case 'ssh-closed':
      return {
        ...parts,
        activity: 2,
        severity: 1,
        success: true,
        message: `SSH session ${sessionId} closed`,
        body: { ...parts.body, ...spanOf(fact.durationMs, stamp) },
      };
    case 'ssh-attached':
      return {
        ...parts,
        activity: 1,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${sessionId} attached to the main process${fact.readOnly ? ', read-only' : ''}`,
        unmapped: { ...parts.unmapped, session_kind: 'attach', read_only: fact.readOnly },
      };
    case 'ssh-detached':
      return {
        ...parts,
        activity: 2,
        severity: 1,
        success: true,
        detail: DETACHED[fact.reason],
        message: `${sessionId} detached from the main process`,
        body: { ...parts.body, ...spanOf(fact.durationMs, stamp) },
        unmapped: { ...parts.unmapped, session_kind: 'attach', reason: fact.reason },
      };
    case 'ssh-forward-opened':
    case 'ssh-forward-closed':
    case 'ssh-forward-refused':
      return { ...parts, ...forwardParts(fact, stamp, parts) };
    case 'ssh-refused':
      return {
        ...parts,
        activity: 5,
        severity: 3,
        success: false,
        action: 'denied',
        detail: fact.reason,
        message: `SSH request of ${sessionId} refused`,
      };
  }
}

/** What differs between the events of a forward; its bytes go in to the sandbox, and out of it. */
function forwardParts(
  fact: ForwardFact,
  stamp: Stamp,
  { body, unmapped }: Pick<EventParts, 'body' | 'unmapped'>,
): Omit<EventParts, 'class'> {
  const { sessionId, target } = fact;
  const told = { ...unmapped, session_kind: 'forward', target };
  switch (fact.kind) {
    case 'ssh-forward-opened':
      return {
        activity: 1,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${sessionId} forwards to ${target}`,
        body,
        unmapped: told,
      };
    case 'ssh-forward-closed':
      return {
        activity: fact.reason === 'reset' ? 3 : 2,
        severity: 1,
        success: true,
        detail: FORWARD_ENDED[fact.reason],
        message: `forward of ${sessionId} to ${target} closed`,
        body: {
          ...body,
          ...spanOf(fact.durationMs, stamp),
          traffic: trafficOf(fact.bytesIn, fact.bytesOut),
        },
        unmapped: { ...told, reason: fact.reason },
      };
    case 'ssh-forward-refused': {
      const failed = fact.why === 'failed';
      return {
        activity: failed ? 4 : 5,
        severity: failed ? 1 : 3,
        success: false,
        ...(!failed && { action: 'denied' }),
        code: fact.why,
        detail: fact.reason,
        message: `forward of ${sessionId} to ${target} ${failed ? 'failed' : 'refused'}`,
        body,
        unmapped: told,
      };
    }
  }
}

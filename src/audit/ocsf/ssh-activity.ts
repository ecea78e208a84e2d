import type { AuditFact, DetachReason } from '../event.ts';
import type { AuditContext, EventParts, Stamp } from './base.ts';
import { integer, peerEndpoint, spanOf, supervisor, userOf } from './objects.ts';

type SshFact = Extract<AuditFact, { kind: `ssh-${string}` }>;

const DETACHED: Readonly<Record<DetachReason, string>> = {
  keys: 'the detach keys were pressed',
  gone: 'the client is gone',
  lagged: 'the client fell too far behind',
  exited: 'the main process ended',
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

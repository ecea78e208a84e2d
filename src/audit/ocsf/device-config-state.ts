import { ANY_PROGRAM } from '../../policy/any-program.ts';
import type { AuditFact } from '../event.ts';
import { type AuditContext, type EventParts, policyOf } from './base.ts';
import { actorOf, supervisor } from './objects.ts';

type ConfigFact = Extract<
  AuditFact,
  {
    kind:
      | 'policy-loaded'
      | 'policy-rejected'
      | 'rules-expired'
      | 'identity-resolved'
      | 'control-applied'
      | 'control-degraded'
      | 'path-skipped'
      | 'path-prepared'
      | 'workspace-owned'
      | 'workspace-mapped'
      | 'policy-proposal';
  }
>;

const ON = { state_id: 2, state: 'Enabled', security_level_id: 1, security_level: 'Secure' };
const OFF = {
  state_id: 1,
  state: 'Disabled',
  security_level_id: 2,
  security_level: 'At Risk',
  security_states: [{ state_id: 4, state: 'Protection off' }],
};

/** Device Config State Change [5019]: the policy and each control, on or off. */
export function deviceConfigState(fact: ConfigFact, context: AuditContext): EventParts {
  const actor = supervisor(context);
  const parts = { class: 'config', activity: 1, severity: 1, success: true, body: { ...ON, actor } } as const;
  switch (fact.kind) {
    case 'policy-loaded':
      return {
        ...parts,
        severity: fact.notices.length === 0 ? 1 : 2,
        message: `policy ${fact.path} in force, ${fact.rules} network rules, ${fact.notices.length} notices`,
        body: { ...parts.body, policy: policyOf(fact) },
        unmapped: {
          rules: fact.rules,
          notices: fact.notices,
          ...(fact.closed !== undefined && { closed_connections: fact.closed }),
        },
      };
    case 'policy-rejected':
      return {
        ...parts,
        severity: 4,
        success: false,
        detail: fact.reason,
        message: `policy ${fact.path} was rejected: ${fact.effect === 'kept' ? 'the last one stays in force' : 'nothing may be reached'}`,
        unmapped: { setting: 'policy', effect: fact.effect },
      };
    case 'rules-expired':
      return {
        ...parts,
        message: `rules ${fact.rules.join(', ')} have ended, and with them ${fact.closed} connections`,
        unmapped: { setting: 'policy', rules: fact.rules, closed_connections: fact.closed },
      };
    case 'policy-proposal':
      return { ...parts, ...proposal(fact), body: { ...ON, actor: actorOf(fact.identity, context) } };
    case 'identity-resolved':
      return {
        ...parts,
        message: `the sandbox runs as ${fact.user} (${fact.uid}:${fact.gid}) from ${fact.source}`,
        unmapped: { setting: 'identity', user: fact.user, uid: fact.uid, gid: fact.gid, source: fact.source },
      };
    case 'control-applied':
      return { ...parts, message: `${fact.control}: ${fact.detail}`, unmapped: { control: fact.control } };
    case 'control-degraded':
      return {
        ...parts,
        severity: 4,
        success: false,
        detail: fact.reason,
        message: `${fact.control} is degraded`,
        body: { ...OFF, actor },
        unmapped: { control: fact.control },
      };
    case 'path-prepared':
      return {
        ...parts,
        message: `${fact.path} is writable`,
        unmapped: { setting: 'read_write', path: fact.path },
      };
    case 'workspace-owned':
      return { ...parts, ...ownedWorkspace(fact) };
    case 'workspace-mapped': {
      const { path, diskUid, diskGid, uid, gid } = fact;
      return {
        ...parts,
        message: `${path} is ${uid}:${gid}’s inside, and ${diskUid}:${diskGid}’s on the disk`,
        unmapped: { setting: 'ownership', method: 'idmap', path, diskUid, diskGid, uid, gid },
      };
    }
    case 'path-skipped':
      return {
        ...parts,
        severity: 2,
        detail: fact.reason,
        message: `${fact.path} is not granted`,
        unmapped: { setting: 'filesystem_policy', path: fact.path },
      };
  }
}

/** The words of whoever asked are data, and stand by themselves. */
function proposal(fact: Extract<AuditFact, { kind: 'policy-proposal' }>) {
  const { id, state, ruleName, summary, yaml, grants, notes, identity } = fact;
  const executable = identity === ANY_PROGRAM ? 'a program' : identity.executable;
  const answered =
    state === 'approved'
      ? `the policy covers the rule ${ruleName} that ${executable} asked for`
      : `${executable} has asked for another rule ${ruleName}`;
  return {
    severity: 2,
    correlation: fact.intent.connectionId,
    message: state === 'pending' ? `${executable} asks for the rule ${ruleName}` : answered,
    unmapped: {
      setting: 'policy_proposal',
      proposal: id,
      state,
      rule: ruleName,
      summary,
      yaml,
      grants,
      notes,
    },
  } as const;
}

/** Entries that the agent was not given are worth a look: somebody put them there. */
function ownedWorkspace({ path, uid, gid, counts }: Extract<AuditFact, { kind: 'workspace-owned' }>) {
  const { seen, changed, mounts, readOnlyMounts, readOnly, linked, devices, moved } = counts;
  const left = [
    [mounts, `other mounts (${readOnlyMounts} of them read-only)`],
    [readOnly, 'read-only'],
    [linked, 'hard-linked'],
    [devices, 'devices'],
    [moved, 'moved meanwhile'],
  ] as const;
  const told = left.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return {
    severity: told.length === 0 ? 1 : 2,
    ...(told.length > 0 && { detail: `left as they were: ${told.join(', ')}` }),
    message: `${path} is ${uid}:${gid}’s: ${changed} of ${seen} entries changed`,
    unmapped: { setting: 'ownership', method: 'chown', path, uid, gid, ...counts },
  } as const;
}

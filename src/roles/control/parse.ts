/** What may come over the control wire, checked field by field on both ends. */
import * as v from 'valibot';
import { MAX_ID } from '../../lib/id.ts';
import { SECCOMP_GROUP_NAMES } from '../../policy/seccomp.ts';
import { count, path, port, text } from '../atoms.ts';
import { flow, identityResult, placeholders } from '../parse.ts';
import { processFact } from './fact.ts';
import type { FromProcessRole, FromSidecar } from './message.ts';

/** As many paths as a policy may list, and room for ports. */
const MAX_PATHS = 256;
const MAX_PORTS = 512;
/** More than the text of a policy has room for. */
const MAX_BINARIES = 65_536;

const greeting = {
  type: v.literal('hello'),
  version: count,
  pid: v.pipe(count, v.minValue(1)),
  uid: v.pipe(count, v.maxValue(MAX_ID)),
};

const paths = v.pipe(v.array(path), v.maxLength(MAX_PATHS));
const ports = v.optional(v.pipe(v.array(port), v.maxLength(MAX_PORTS)));
const name = v.optional(v.pipe(v.string(), v.maxLength(64)));
const parts = v.strictObject({
  filesystem: v.strictObject({ includeWorkdir: v.boolean(), readOnly: paths, readWrite: paths }),
  landlock: v.strictObject({
    compatibility: v.picklist(['best_effort', 'hard_requirement']),
    bindPorts: ports,
    connectPorts: ports,
  }),
  process: v.strictObject({ runAsUser: name, runAsGroup: name }),
  seccomp: v.strictObject({ relax: v.pipe(v.array(v.picklist(SECCOMP_GROUP_NAMES)), v.maxLength(64)) }),
});
const containerPolicy = {
  generation: v.pipe(count, v.minValue(1)),
  parts,
  binaries: v.pipe(v.array(path), v.maxLength(MAX_BINARIES)),
};

const fromSidecar = v.variant('type', [
  v.strictObject({ ...greeting, role: v.literal('network') }),
  v.strictObject({
    type: v.literal('setup'),
    proxyPort: v.pipe(port, v.minValue(1)),
    policy: v.strictObject(containerPolicy),
    authority: v.exactOptional(text),
    placeholders,
  }),
  v.strictObject({ type: v.literal('begin') }),
  v.strictObject({ type: v.literal('policy'), ...containerPolicy }),
  v.strictObject({ type: v.literal('identify'), id: count, flow }),
  v.strictObject({ type: v.literal('stop') }),
  v.strictObject({ type: v.literal('recorded') }),
]);

const absolutePath = v.pipe(path, v.startsWith('/'));
const binaryTargets = v.pipe(
  v.record(absolutePath, absolutePath),
  v.check((all) => Object.keys(all).length <= MAX_BINARIES, 'too many targets'),
);

const fromProcessRole = v.variant('type', [
  v.strictObject({
    ...greeting,
    role: v.literal('process'),
    pidNamespace: v.pipe(v.string(), v.maxLength(64)),
    token: v.pipe(v.string(), v.maxLength(128)),
  }),
  v.strictObject({ type: v.literal('ready') }),
  v.strictObject({ type: v.literal('policy-applied'), generation: count, targets: binaryTargets }),
  v.strictObject({ type: v.literal('answer'), id: count, result: identityResult }),
  v.strictObject({ type: v.literal('fact'), fact: processFact }),
  v.strictObject({
    type: v.literal('ended'),
    exitCode: v.pipe(count, v.maxValue(255)),
    reason: text,
  }),
]);

/** A message of the sidecar. @throws ValiError for anything else. */
export function parseFromSidecar(value: unknown): FromSidecar {
  return v.parse(fromSidecar, value) as FromSidecar;
}

/** A message of the process role. @throws ValiError for anything else. */
export function parseFromProcessRole(value: unknown): FromProcessRole {
  // JSON leaves out what is undefined: a key of the contract may be absent, which reads the same.
  return v.parse(fromProcessRole, value) as FromProcessRole;
}

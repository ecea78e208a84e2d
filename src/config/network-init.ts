import { resolve } from 'node:path';
import { MAX_ID } from '../lib/id.ts';
import { DEFAULT_NETWORK_ROLE_UID, type VerbArguments } from './config.ts';
import type { Surroundings } from './surroundings.ts';
import { readInteger, usage } from './values.ts';

/** Everything the fence of a shared network namespace depends on. */
export interface NetworkInitConfig {
  /** The one identity that may send; never 0, which would exempt every root of the pod. */
  readonly proxyUid: number;
  readonly proxyGid: number;
  /** Undefined: there is none to prepare. */
  readonly stateDirectory: string | undefined;
  /** Ascending, each once. */
  readonly inboundPorts: readonly number[];
  /** Fences also the network of the machine itself, which a virtual machine for one pod may have for it. */
  readonly wholeMachine: boolean;
}

/** A pod has two or three; each is an element of one set in the kernel. */
const MAX_INBOUND_PORTS = 64;

/** @throws CastellanError `usage` for a value that is not what the option takes */
export function readNetworkInitConfig(
  { options }: VerbArguments,
  { workingDirectory }: Surroundings,
): NetworkInitConfig {
  const proxyUid = readInteger(
    'proxy-uid',
    options.get('proxy-uid')?.[0],
    DEFAULT_NETWORK_ROLE_UID,
    1,
    MAX_ID,
  );
  const directory = options.get('state-directory')?.[0];
  if (directory === '') throw usage('--state-directory needs a path');
  return Object.freeze({
    proxyUid,
    proxyGid: readInteger('proxy-gid', options.get('proxy-gid')?.[0], proxyUid, 0, MAX_ID),
    stateDirectory: directory === undefined ? undefined : resolve(workingDirectory, directory),
    inboundPorts: readPorts(options.get('allow-inbound') ?? []),
    wholeMachine: options.has('whole-machine'),
  });
}

function readPorts(texts: readonly string[]): readonly number[] {
  const ports = new Set(texts.map((text) => readInteger('allow-inbound', text, 0, 1, 65_535)));
  if (ports.size > MAX_INBOUND_PORTS)
    throw usage(`--allow-inbound: ${ports.size} ports are more than ${MAX_INBOUND_PORTS}`);
  return [...ports].sort((one, other) => one - other);
}

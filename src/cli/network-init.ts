import { installPaths } from '../config/install.ts';
import { type NetworkInitConfig, readNetworkInitConfig } from '../config/network-init.ts';
import type { FamilyProof } from '../kernel/fence-proof.ts';
import { escapeText } from '../lib/escape.ts';
import { type NetworkInitResult, networkInit } from '../start/network-init.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan network-init`: fences the network namespace it runs in, proves it, and ends. */
export const verb: Verb = async (command, { surroundings, stdout }) => {
  const config = readNetworkInitConfig(command, surroundings);
  const result = await networkInit({ config, surroundings, install: installPaths(surroundings) });
  if (command.options.has('json')) printJson(stdout, forPrograms(config, result));
  else stdout.write(describe(config, result));
  return 0;
};

function forPrograms(
  config: NetworkInitConfig,
  { fence, families, stateDirectory }: NetworkInitResult,
): object {
  return {
    ...config,
    logged: fence.unlogged === undefined,
    ...(fence.unlogged !== undefined && { unlogged: fence.unlogged }),
    families,
    ...(stateDirectory !== undefined && {
      stateDirectory: { path: config.stateDirectory, outcome: stateDirectory },
    }),
  };
}

function describe(config: NetworkInitConfig, { fence, families, stateDirectory }: NetworkInitResult): string {
  const absent = families.some(({ family }) => family === 'IPv6') ? [] : ['no IPv6 in this namespace'];
  const parts = [
    `fence installed, exempt uid ${config.proxyUid}`,
    ...(config.inboundPorts.length === 0 ? [] : [`inbound TCP ${config.inboundPorts.join(', ')}`]),
    ...families.map(describeFamily),
    ...absent,
    ...(fence.unlogged === undefined ? [] : [`refused packets are not logged (${fence.unlogged})`]),
    ...(stateDirectory === undefined
      ? []
      : [`${escapeText(config.stateDirectory ?? '')} ${stateDirectory} to it`]),
  ];
  return `castellan: ${parts.join('; ')}\n`;
}

function describeFamily({ family, proved, untried }: FamilyProof): string {
  const reasons = Map.groupBy(untried, ({ reason }) => reason);
  const missing = [...reasons].map(
    ([reason, attempts]) => `${attempts.map(({ attempt }) => attempt).join(', ')}: ${reason}`,
  );
  return `${family} proved (${proved.join(', ')})${missing.length === 0 ? '' : `, not tried (${missing.join('; ')})`}`;
}

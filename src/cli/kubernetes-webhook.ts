import { resolve } from 'node:path';
import { readListenAddress } from '../config/listen-address.ts';
import { readInteger } from '../config/values.ts';
import { CastellanError } from '../errors.ts';
import { MAX_CONFIGURATION_BYTES, parseWebhookConfiguration } from '../kubernetes/webhook/configuration.ts';
import { within } from '../launch/process.ts';
import { openDoor } from '../start/door.ts';
import { type Phase, probeAnswerer } from '../start/readiness.ts';
import { clusterApiServer } from '../webhook/namespaces.ts';
import { readMountedFile } from '../webhook/read-file.ts';
import { openWebhook } from '../webhook/webhook.ts';
import type { Verb } from './verb.ts';

const LISTEN = '0.0.0.0:8443';
const GRACE_S = 10;
const MAX_GRACE_S = 300;
/** For what is under way when the grace is over: half as long as the API server waits for a review. */
const DRAIN_MS = 5000;

/** `castellan kubernetes webhook`: serves until TERM or INT, and `--grace` seconds longer; the second one ends it at once. */
export const verb: Verb = async ({ options }, { surroundings, stderr, onSignal }) => {
  const option = (name: string) => options.get(name)?.[0];
  const file = (name: string) => {
    const path = option(name);
    if (path === undefined)
      throw new CastellanError('usage', `--${name} is missing`, { step: 'arguments', object: name });
    return resolve(surroundings.workingDirectory, path);
  };
  const tell = (line: string) => stderr.write(`castellan: webhook: ${line}\n`);
  const graceMs = readInteger('grace', option('grace'), GRACE_S, 0, MAX_GRACE_S) * 1000;
  const health = option('health-listen');
  const configPath = file('config');
  const text = await readMountedFile(configPath, 'the configuration', MAX_CONFIGURATION_BYTES);
  await using webhook = await openWebhook({
    files: {
      certificate: file('tls-certificate'),
      key: file('tls-key'),
      clientAuthority: options.has('client-ca') ? file('client-ca') : undefined,
    },
    listen: readListenAddress('listen', option('listen') ?? LISTEN),
    configuration: parseWebhookConfiguration(text, configPath),
    apiServer: clusterApiServer(surroundings.environment),
    tell,
    now: Date.now,
  });
  let stopping = false;
  const phase = (): Phase => (stopping ? 'stopping' : webhook.isReady() ? 'ready' : 'starting');
  await using _health =
    health === undefined
      ? undefined
      : await openDoor(readListenAddress('health-listen', health), 'health', probeAnswerer(phase));
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  const { promise: hurried, resolve: hurry } = Promise.withResolvers<void>();
  using _signals = onSignal((name) => {
    if (name !== 'SIGTERM' && name !== 'SIGINT') return;
    if (stopping) hurry();
    stopping = true;
    stop();
  });
  tell(`listens on ${webhook.address.address} port ${webhook.address.port}`);
  await stopped;
  tell('is stopping');
  // Not ready any more, but until the cluster knows, reviews still come here, and a pod would not start for want of an answer.
  if (!(await within(hurried, graceMs))) await webhook.drain(DRAIN_MS);
  return 0;
};

/** The command line of OpenShell's supervisor, as its drivers write it: every word there is, and what becomes of it. */
import { CastellanError } from '../../errors.ts';
import { nearest } from '../../lib/nearest.ts';
import type { Topology } from './variables.ts';

export interface PeerOption {
  readonly name: string;
  readonly short?: string;
  /** Placeholder of the value; a switch has none. */
  readonly value?: string;
  /** The modes in which it means something; elsewhere it is refused. */
  readonly accepted: readonly Topology[];
  /** The variable that says the same; the option wins. */
  readonly variable?: `OPENSHELL_${string}`;
  /** In castellan's words. */
  readonly becomes: string;
}

const RUN: readonly Topology[] = ['network,process', 'process', 'network'];
const PROCESS: readonly Topology[] = ['network,process', 'process'];
const NETWORK: readonly Topology[] = ['network,process', 'network'];
const INIT: readonly Topology[] = ['network-init'];
/** What a sidecar answers, and what the fence that is made before it has to let in. */
const REACHED: readonly Topology[] = [...NETWORK, ...INIT];
const ALL: readonly Topology[] = [...RUN, ...INIT];

export const PEER_OPTIONS = [
  { name: 'mode', value: 'MODE', accepted: ALL, becomes: 'run, run --roles process, run --roles network, or network-init' },
  { name: 'workdir', short: 'w', value: 'DIR', accepted: PROCESS, becomes: '--workdir' },
  { name: 'timeout', short: 't', value: 'SECONDS', accepted: PROCESS, becomes: '--timeout' },
  { name: 'interactive', short: 'i', accepted: PROCESS, becomes: 'the command has these streams; without it, --retain' },
  { name: 'sandbox-id', value: 'ID', accepted: ALL, variable: 'OPENSHELL_SANDBOX_ID', becomes: 'nothing: it is for a gateway' },
  { name: 'sandbox', value: 'NAME', accepted: RUN, variable: 'OPENSHELL_SANDBOX', becomes: '--name, shortened where needed' },
  { name: 'openshell-endpoint', value: 'URL', accepted: ALL, variable: 'OPENSHELL_ENDPOINT', becomes: 'refused: castellan does not speak to a gateway yet' },
  { name: 'policy-rules', value: 'FILE', accepted: NETWORK, becomes: 'nothing where it is OpenShell’s own Rego, which --policy is judged as by; else refused' },
  { name: 'policy-data', value: 'FILE', accepted: NETWORK, becomes: '--policy' },
  { name: 'log-level', value: 'LEVEL', accepted: RUN, variable: 'OPENSHELL_LOG_LEVEL', becomes: '--quiet for off, error and warn (default); not for info, debug and trace' },
  { name: 'ssh-socket-path', value: 'PATH', accepted: PROCESS, variable: 'OPENSHELL_SSH_SOCKET_PATH', becomes: '--ssh-socket' },
  { name: 'inference-routes', value: 'FILE', accepted: NETWORK, becomes: '--inference-routes' },
  { name: 'health-check', accepted: REACHED, becomes: '--health-listen 0.0.0.0:PORT; in network-init --allow-inbound PORT, without which no probe of a pod arrives' },
  { name: 'health-port', value: 'PORT', accepted: REACHED, becomes: 'the port of --health-check, and only with it (default 8080)' },
  { name: 'proxy-uid', value: 'UID', accepted: ['network,process', 'network', 'network-init'], becomes: '--proxy-uid' },
  { name: 'proxy-gid', value: 'GID', accepted: INIT, becomes: '--proxy-gid' },
  { name: 'sidecar-state-dir', value: 'DIR', accepted: INIT, becomes: '--state-directory' },
  { name: 'sidecar-tls-dir', value: 'DIR', accepted: INIT, becomes: 'nothing: its certificates are for a gateway' },
  { name: 'upstream-proxy', value: 'URL', accepted: NETWORK, becomes: 'the same' },
  { name: 'upstream-no-proxy', value: 'LIST', accepted: NETWORK, becomes: 'the same' },
  { name: 'upstream-proxy-auth-file', value: 'FILE', accepted: NETWORK, becomes: 'the same' },
  { name: 'upstream-proxy-auth-allow-insecure', accepted: NETWORK, becomes: 'the same' },
  { name: 'upstream-proxy-connect-by-hostname', accepted: NETWORK, becomes: 'the same' },
] as const satisfies readonly PeerOption[]; // biome-ignore format: one row an option

export type PeerOptionName = (typeof PEER_OPTIONS)[number]['name'];

export interface PeerWords {
  /** Switches are present with an empty text. */
  readonly options: ReadonlyMap<PeerOptionName, string>;
  readonly command: readonly string[];
}

/**
 * Reads the words as their program does: options first, `--name value` or `--name=value`, `-w value`, `-wvalue`; from the first other word on
 * everything is the command.
 * @throws CastellanError `usage`, with the nearest option
 */
export function parsePeerWords(words: readonly string[]): PeerWords {
  const options = new Map<PeerOptionName, string>();
  let index = 0;
  for (; index < words.length; index++) {
    const word = words[index] ?? '';
    if (word === '--') return { options, command: words.slice(index + 1) };
    if (!word.startsWith('-') || word === '-') break;
    const { option, inline } = findOption(word);
    const name = option.name as PeerOptionName;
    if (options.has(name)) throw usage(`--${name} is given twice`, word);
    if (option.value === undefined) {
      if (inline !== undefined) throw usage(`--${name} takes no value`, word);
      options.set(name, '');
      continue;
    }
    const value = inline ?? words[++index];
    if (value === undefined) throw usage(`--${name} needs ${option.value}`, word);
    options.set(name, value);
  }
  return { options, command: words.slice(index) };
}

function findOption(word: string): { readonly option: PeerOption; readonly inline: string | undefined } {
  const all: readonly PeerOption[] = PEER_OPTIONS;
  if (!word.startsWith('--')) {
    const option = all.find(({ short }) => short !== undefined && word[1] === short);
    if (option === undefined || (option.value === undefined && word.length > 2))
      throw usage(`unknown option ${JSON.stringify(word)}`, word);
    const rest = word.slice(2).replace(/^=/, '');
    return { option, inline: word.length > 2 ? rest : undefined };
  }
  const equals = word.indexOf('=');
  const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const option = all.find((each) => each.name === name);
  if (option !== undefined) return { option, inline: equals < 0 ? undefined : word.slice(equals + 1) };
  const near = nearest(
    name,
    all.map((each) => each.name),
  );
  throw usage(
    `unknown option ${JSON.stringify(word)}${near === undefined ? '' : `; did you mean "--${near}"?`}`,
    word,
  );
}

export function usage(
  message: string,
  object?: string,
  remedy = 'see openshell-sandbox --help',
): CastellanError {
  return new CastellanError('usage', `openshell-sandbox: ${message}`, {
    step: 'arguments',
    ...(object !== undefined && { object }),
    remedy,
  });
}

/**
 * The environment of a confined process, made from nothing: what castellan itself was started with may hold
 * tokens and may steer loaders, so none of it goes through.
 */
import { problemOfVariableName } from '../config/variable-names.ts';
import { CastellanError } from '../errors.ts';
import type { SandboxIdentity } from './cell.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_TERMINAL = 'xterm-256color';

const PROXY_VARIABLES = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
  'http_proxy',
  'https_proxy',
  'all_proxy',
  'grpc_proxy',
];
const BUNDLE_VARIABLES = [
  'SSL_CERT_FILE', // OpenSSL, Go, rustls, uv
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'REQUESTS_CA_BUNDLE', // Python's requests
  'PIP_CERT',
  'AWS_CA_BUNDLE',
  'CARGO_HTTP_CAINFO',
  'NIX_SSL_CERT_FILE',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  'HEX_CACERTS_PATH',
  'PERL_LWP_SSL_CA_FILE',
];
const LOOPBACK = '127.0.0.1,localhost,::1';

/** Longer values are never meant; execve(2) refuses a single string above 128 KiB. */
const MAX_VALUE_BYTES = 64 * 1024;
const TERMINAL_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

/** What an SSH client may set without being told to: words about language, terminal and taste. */
const REQUESTABLE = /^(LANG|LANGUAGE|LC_[A-Z]+|TERM|COLORTERM|EDITOR|VISUAL|TZ)$/;

/** Points every common client at the proxy, and Node's own fetch with it. */
export function proxyEnvironment(url: string): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(PROXY_VARIABLES.map((name) => [name, url])),
    NO_PROXY: LOOPBACK,
    no_proxy: LOOPBACK,
    NODE_USE_ENV_PROXY: '1',
  };
}

/** By what each library finds certificate authorities; those that add to their own list get only the one. */
export function trustEnvironment(authority: string, bundle: string): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(BUNDLE_VARIABLES.map((name) => [name, bundle])),
    NODE_EXTRA_CA_CERTS: authority,
    DENO_CERT: authority,
  };
}

/**
 * Checks what the operator adds with --env or --shared-env.
 * @throws CastellanError `usage` for a malformed name, a value that execve(2) cannot carry, or a variable that loads code.
 */
export function operatorEnvironment(
  additions: Readonly<Record<string, string>>,
  option: '--env' | '--shared-env' = '--env',
): Readonly<Record<string, string>> {
  for (const [name, value] of Object.entries(additions)) {
    const problem = problemOf(name, value);
    if (problem !== undefined)
      throw new CastellanError('usage', `${option} ${name}: ${problem}`, {
        step: 'environment',
        object: name,
      });
  }
  return { ...additions };
}

/** Those that each process has from its identity, and in which no program expects a secret. */
const OWN_VARIABLES = ['HOME', 'LANG', 'LOGNAME', 'PATH', 'SHELL', 'USER', 'TERM'];

/**
 * Checks the names that the file of credentials adds.
 * @param taken what the operator or castellan has set
 * @throws CastellanError `credentials_invalid` for a name that loads code, or has a meaning already
 */
export function placeholderEnvironment(
  placeholders: Readonly<Record<string, string>>,
  taken: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  for (const [name, value] of Object.entries(placeholders)) {
    const isTaken = Object.hasOwn(taken, name) || OWN_VARIABLES.includes(name);
    const problem = isTaken ? 'the variable has another value already' : problemOf(name, value);
    if (problem !== undefined)
      throw new CastellanError('credentials_invalid', `credential ${name}: ${problem}`, {
        step: 'environment',
        object: name,
        remedy: 'give the credential another name, or take the variable out of --env',
      });
  }
  return placeholders;
}

/**
 * Whether an SSH session may set a variable: the harmless ones, and those the operator named.
 */
export function isRequestable(name: string, value: string, allowed: readonly string[]): boolean {
  return problemOf(name, value) === undefined && (REQUESTABLE.test(name) || allowed.includes(name));
}

export interface EnvironmentSources {
  readonly identity: SandboxIdentity;
  /** The sandbox's own: proxy, trust store. */
  readonly shared: Readonly<Record<string, string>>;
  /** This one process's, already checked. */
  readonly requested: Readonly<Record<string, string>>;
  /** TERM as the client gave it, where the process has a terminal. */
  readonly terminal: string | undefined;
}

/** Later sources win; returns KEY=VALUE lines sorted by name. */
export function childEnvironment({ identity, shared, requested, terminal }: EnvironmentSources): string[] {
  const variables: Readonly<Record<string, string>> = {
    HOME: identity.home,
    LANG: 'C.UTF-8',
    LOGNAME: identity.user,
    PATH: DEFAULT_PATH,
    SHELL: identity.shell,
    USER: identity.user,
    ...shared,
    ...requested,
    ...(terminal !== undefined && { TERM: TERMINAL_NAME.test(terminal) ? terminal : DEFAULT_TERMINAL }),
    CASTELLAN: '1',
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}`)
    .sort();
}

function problemOf(name: string, value: string): string | undefined {
  const problem = problemOfVariableName(name);
  if (problem !== undefined) return problem;
  if (value.includes('\0')) return 'the value contains a NUL';
  if (Buffer.byteLength(value) > MAX_VALUE_BYTES) return `the value is longer than ${MAX_VALUE_BYTES} bytes`;
  return undefined;
}

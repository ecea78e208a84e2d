/** What OpenShell's drivers say, in castellan's words: argv and environments as its drivers at 2f7fb6559 write them. */
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../../src/cli/parse.ts';
import { isSandboxName } from '../../../src/config/config.ts';
import { PEER_OPTIONS, type PeerOption } from '../../../src/config/openshell/arguments.ts';
import { sandboxNameFor } from '../../../src/config/openshell/sandbox-name.ts';
import { translatePeer } from '../../../src/config/openshell/translate.ts';
import { OPENSHELL_VARIABLES, TOPOLOGIES, type Topology } from '../../../src/config/openshell/variables.ts';

type Variables = Readonly<Record<string, string>>;
const STOCK = 'dc68daf035e520ef21fc8dcbe3ef3fb18273eec02c136b989264524b75cd3e95';
const FILES: Readonly<Record<string, string>> = { '/stock.rego': STOCK, '/own.rego': '0'.repeat(64) };
const say = (argv: readonly string[], environment: Variables = {}, hasPolicy = false) =>
  translatePeer(argv, { environment, hasPolicy, digestOf: (path) => FILES[path] });
const words = (argv: readonly string[], environment: Variables = {}, hasPolicy = false) =>
  say(argv, environment, hasPolicy).words;

const MARK = ['--shared-env', 'OPENSHELL_SANDBOX=1'];
const SPEC = '{"version":1,"command":["agent"],"tty":false}';
const COMMON = {
  OPENSHELL_SANDBOX_ID: '7b1d0c1e-0000-4000-8000-000000000000',
  OPENSHELL_SANDBOX: 'work',
  OPENSHELL_MAIN_PROCESS_SPEC: SPEC,
  OPENSHELL_TELEMETRY_ENABLED: 'false',
  OPENSHELL_SSH_SOCKET_PATH: '/run/openshell/ssh.sock',
  OPENSHELL_USER_ENVIRONMENT: '{"LANGUAGE":"en","A":"x=y z\\n"}',
};
const DOCKER = {
  ...COMMON,
  HOME: '/root',
  PATH: '/usr/bin:/bin',
  TERM: 'xterm',
  OPENSHELL_LOG_LEVEL: 'info',
  OPENSHELL_SANDBOX_TOKEN_FILE: '/etc/openshell/auth/sandbox.jwt',
  OPENSHELL_TLS_CA: '/etc/openshell/tls/client/ca.crt',
  OPENSHELL_TLS_CERT: '/etc/openshell/tls/client/tls.crt',
  OPENSHELL_TLS_KEY: '/etc/openshell/tls/client/tls.key',
  OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: 'policy-dns-transparent-tcp',
  OPENSHELL_OCI_IMAGE_USER: 'node',
  OPENSHELL_SANDBOX_UID: '',
  OPENSHELL_SANDBOX_GID: '',
};
const POD = {
  OPENSHELL_SUPERVISOR_TOPOLOGY: 'sidecar',
  OPENSHELL_NETWORK_ENFORCEMENT_MODE: 'sidecar-nftables',
  OPENSHELL_SIDECAR_CONTROL_SOCKET: '/run/openshell-sidecar/control.sock',
  OPENSHELL_PROXY_TLS_DIR: '/etc/openshell-tls/proxy',
  OPENSHELL_OCI_IMAGE_USER: '',
  OPENSHELL_SANDBOX_UID: '1500',
  OPENSHELL_SANDBOX_GID: '1500',
};
const RETAINED = [
  ...['--ssh-socket', '/run/openshell/ssh.sock', ...MARK],
  ...['--shared-env', 'LANGUAGE=en', '--shared-env', 'A=x=y z\n', '--retain'],
];
const CONTROL = ['--control-socket', '/run/openshell-sidecar/control.sock'];

describe('what drivers start', () => {
  it.each<[string, readonly string[], Variables, readonly string[]]>([
    ['docker', ['--workdir', '/app'], DOCKER, ['run', '--name', 'work', '--workdir', '/app', ...RETAINED]],
    [
      'podman, behind a proxy',
      ['--workdir', '/sandbox', '--upstream-proxy', 'http://p:3128', '--upstream-no-proxy', '.corp'],
      { ...DOCKER, OPENSHELL_LOG_LEVEL: '', OPENSHELL_CONTAINER_IMAGE: 'x' },
      [
        ...['run', '--name', 'work', '--quiet', '--upstream-proxy', 'http://p:3128'],
        ...['--upstream-no-proxy', '.corp', '--workdir', '/sandbox', ...RETAINED],
      ],
    ],
    [
      'kubernetes, combined',
      ['--workdir', '/sandbox'],
      { ...COMMON, OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: '', OPENSHELL_SANDBOX_UID: '1000' },
      ['run', '--name', 'work', '--quiet', '--workdir', '/sandbox', ...RETAINED],
    ],
    [
      'kubernetes, the init container',
      [
        ...['--mode=network-init', '--proxy-uid', '1337', '--proxy-gid', '1500'],
        ...['--sidecar-state-dir', '/run/openshell-sidecar', '--sidecar-tls-dir', '/etc/openshell-tls/proxy'],
      ],
      {},
      [
        ...['network-init', '--proxy-uid', '1337', '--proxy-gid', '1500'],
        ...['--state-directory', '/run/openshell-sidecar'],
      ],
    ],
    [
      'kubernetes, the network sidecar',
      ['--mode=network'],
      { ...POD, OPENSHELL_SSH_SOCKET_PATH: '@openshell-sidecar-ssh' },
      ['run', '--roles', 'network', ...CONTROL, '--quiet', '--sandbox-uid', '1500'],
    ],
    [
      'the same, relaxed',
      ['--mode=network'],
      { ...POD, OPENSHELL_NETWORK_BINARY_IDENTITY: 'relaxed' },
      [
        'run',
        '--roles',
        'network',
        ...CONTROL,
        '--quiet',
        '--sandbox-uid',
        '1500',
        '--binary-identity',
        'none',
      ],
    ],
    [
      'kubernetes, the agent of a pod',
      ['--mode=process', '--workdir', '/sandbox'],
      { ...POD, OPENSHELL_MAIN_PROCESS_SPEC: SPEC, OPENSHELL_SSH_SOCKET_PATH: '@openshell-sidecar-ssh' },
      [
        ...['run', '--roles', 'process', ...CONTROL, '--quiet', '--workdir', '/sandbox'],
        ...['--ssh-socket', '@openshell-sidecar-ssh', ...MARK, '--retain'],
      ],
    ],
    [
      'a volume that is filled',
      ['copy-self', '/opt/openshell/bin/openshell-sandbox'],
      {},
      ['copy-self', '--openshell', '/opt/openshell/bin/openshell-sandbox'],
    ],
  ])('%s', (_, argv, environment, expected) => expect(words(argv, environment)).toEqual(expected));

  it('is what castellan’s own parser takes', () => {
    expect(parseArguments(words(['--workdir', '/app'], DOCKER))).toMatchObject({
      kind: 'command',
      command: { verb: 'run', operands: [] },
    });
    expect(parseArguments(words(['-t5', '-w=/x', '--', 'sh', '-c', '--x']))).toMatchObject({
      command: { operands: ['sh', '-c', '--x'] },
    });
  });
});

describe('what a person says', () => {
  const run = (...more: readonly string[]) => ['run', ...more];
  it.each<[string, readonly string[], Variables, boolean, readonly string[]]>([
    ['nothing', [], {}, false, run('--quiet', ...MARK, '--retain', '--tty', '--', '/bin/bash', '-l')],
    ['a command', ['ls', '-l'], {}, false, run('--quiet', ...MARK, '--retain', '--', 'ls', '-l')],
    ['a command after --', ['--', '-x'], {}, false, run('--quiet', ...MARK, '--retain', '--', '-x')],
    ['one to talk with', ['-i', 'bash'], {}, false, run('--quiet', ...MARK, '--', 'bash')],
    ['a shell to talk with', ['-i'], {}, false, run('--quiet', ...MARK, '--', '/bin/bash', '-l')],
    ['an installed policy', ['-i'], {}, true, run('--policy', '/etc/openshell/policy.yaml', '--quiet', ...MARK, '--', '/bin/bash', '-l')],
    ['another policy', ['--policy-data=/p', '-i', 'x'], {}, true, run('--policy', '/p', '--quiet', ...MARK, '--', 'x')],
    ['OpenShell’s own rules', ['--policy-data=/p', '--policy-rules=/stock.rego', '-i', 'x'], {}, false, run('--policy', '/p', '--quiet', ...MARK, '--', 'x')],
    ['a variable that repeats it', ['--policy-data=/p', '-i', 'x'], { OPENSHELL_POLICY_DATA: '/p' }, false, run('--policy', '/p', '--quiet', ...MARK, '--', 'x')],
    ['a name that is none of ours', ['--sandbox', 'Team/Work', '-i', 'x'], {}, false, run('--name', sandboxNameFor('Team/Work'), '--quiet', ...MARK, '--', 'x')],
    ['an option before its variable', ['--log-level', 'debug', '-i', 'x'], { OPENSHELL_LOG_LEVEL: 'warn' }, false, run(...MARK, '--', 'x')],
    ['probes', ['--health-check', '--health-port', '9000', '-i', 'x'], {}, false, run('--quiet', '--health-listen', '0.0.0.0:9000', ...MARK, '--', 'x')],
    ['probes that a fence lets in', ['--mode=network-init', '--health-check'], {}, false, ['network-init', '--proxy-uid', '1337', '--allow-inbound', '8080']],
    ['probes elsewhere', ['--mode=network-init', '--health-check', '--health-port=9000'], {}, false, ['network-init', '--proxy-uid', '1337', '--allow-inbound', '9000']],
    ['modes in another order', ['--mode', 'process, network', '-i', 'x'], {}, false, run('--quiet', ...MARK, '--', 'x')],
  ])('%s', (_, argv, environment, hasPolicy, expected) =>
    expect(words(argv, environment, hasPolicy)).toEqual(expected),
  ); // biome-ignore format: one row a case
});

describe('what cannot be had is refused', () => {
  it.each<[string, readonly string[], Variables, string]>([
    ['a gateway', ['--openshell-endpoint', 'https://gw'], {}, 'does not speak to a gateway yet'],
    ['a gateway by a variable', [], { OPENSHELL_ENDPOINT: 'https://gw' }, '--policy-data FILE'],
    ['a gateway in a pod', ['--mode=network'], { OPENSHELL_ENDPOINT: 'https://gw' }, 'does not speak'],
    ['rules of one’s own', ['--policy-data=/p', '--policy-rules=/own.rego'], {}, 'runs no Rego'],
    ['rules that are not there', ['--policy-data=/p', '--policy-rules=/none'], {}, 'runs no Rego'],
    ['rules alone', ['--policy-rules=/stock.rego'], {}, 'takes --policy-data'],
    ['a policy by a variable', [], { OPENSHELL_POLICY_DATA: '/tmp/p' }, 'an image could have set it'],
    ['another than was said', ['--policy-data=/p'], { OPENSHELL_POLICY_DATA: '/q' }, 'an image could'],
    ['rules by a variable', [], { OPENSHELL_POLICY_RULES: '/stock.rego' }, 'as --policy-rules'],
    ['routes by a variable', [], { OPENSHELL_INFERENCE_ROUTES: '/r' }, 'as --inference-routes'],
    ['an exempt uid by a variable', ['--mode=network-init'], { OPENSHELL_PROXY_UID: '1500' }, 'as --proxy-uid'],
    ['a pod where there is none', [], { OPENSHELL_SUPERVISOR_TOPOLOGY: 'sidecar' }, 'an image could'],
    ['no pod where there is one', ['--mode=process'], { OPENSHELL_SUPERVISOR_TOPOLOGY: 'combined' }, 'not what'],
    ['a fence of others', [], { OPENSHELL_NETWORK_ENFORCEMENT_MODE: 'sidecar-nftables' }, 'an image could'],
    ['less identity', [], { OPENSHELL_NETWORK_BINARY_IDENTITY: 'relaxed' }, 'an image could'],
    ['less identity beside a sidecar', ['--mode=process'], { OPENSHELL_NETWORK_BINARY_IDENTITY: 'relaxed' }, 'an image'],
    ['any other word for it', ['--mode=network'], { OPENSHELL_NETWORK_BINARY_IDENTITY: 'off' }, 'not what'],
    ['a socket of a pod', [], { OPENSHELL_SIDECAR_CONTROL_SOCKET: '/x' }, 'two supervisors'],
    ['identities by SPIFFE', [], { OPENSHELL_PROVIDER_SPIFFE_WORKLOAD_API_SOCKET: '/s' }, 'no SPIFFE'],
    ['a limit that nobody checks', [], { OPENSHELL_REQUIRE_RUNTIME_PID_LIMIT: '' }, 'limit of processes'],
    ['a variable nobody knows', [], { OPENSHELL_SANDBX: 'x' }, 'did you mean OPENSHELL_SANDBOX?'],
    ['an option nobody knows', ['--workdri', '/x'], {}, 'did you mean "--workdir"?'],
    ['a short one nobody knows', ['-x'], {}, 'unknown option'],
    ['switches together', ['-iw', '/x'], {}, 'unknown option'],
    ['an option twice', ['-w', '/x', '--workdir=/y'], {}, 'given twice'],
    ['a value that is missing', ['--workdir'], {}, 'needs DIR'],
    ['a value for a switch', ['--interactive=no'], {}, 'takes no value'],
    ['a mode nobody knows', ['--mode=proxy'], {}, 'one of network,process | process'],
    ['modes that exclude each other', ['--mode=network-init,process'], {}, 'one of'],
    ['a mode of nothing', ['--mode='], {}, 'one of'],
    ['a command for a sidecar', ['--mode=network', 'sh'], {}, 'runs no command'],
    ['a proxy for the agent alone', ['--mode=process', '--upstream-proxy', 'http://p'], {}, 'means nothing in'],
    ['a policy for the agent alone', ['--mode=process', '--policy-data', '/p'], {}, 'means nothing in'],
    ['a state directory for a run', ['--sidecar-state-dir', '/x'], {}, 'means nothing in'],
    ['a port without probes', ['--health-port', '9000'], {}, 'takes --health-check'],
    ['a port in a fence without probes', ['--mode=network-init', '--health-port', '9000'], {}, 'takes --health-check'],
    ['probes of the agent', ['--mode=process', '--health-check'], {}, 'means nothing in'],
    ['a fence that lets root out', ['--mode=network-init', '--proxy-uid', '0'], {}, 'every root of the pod'],
    ['the same in other words', ['--mode=network-init', '--proxy-uid=00'], {}, 'every root of the pod'],
    ['a level nobody knows', ['--log-level', 'openshell=debug'], {}, 'one of off, error'],
    ['questions to a gateway', ['debug-rpc', 'show-token'], {}, 'asks a gateway'],
    ['a step of another start', ['validate-workspace'], {}, 'OpenShell’s own start'],
    ['a copy to nowhere', ['copy-self'], {}, 'takes one path'],
    ['a copy to two places', ['copy-self', '/a', '/b'], {}, 'takes one path'],
    ['variables that are no JSON', [], { OPENSHELL_USER_ENVIRONMENT: '{"SECRET":' }, 'is not JSON'],
    ['variables that are no map', [], { OPENSHELL_USER_ENVIRONMENT: '["A"]' }, 'no JSON map'],
    ['a variable that is no text', [], { OPENSHELL_USER_ENVIRONMENT: '{"A":1}' }, 'no text for "A"'],
    ['a name that is none', [], { OPENSHELL_USER_ENVIRONMENT: '{"A B":"x"}' }, 'no name of a variable'],
    ['a supervisor’s variable', [], { OPENSHELL_USER_ENVIRONMENT: '{"OPENSHELL_X":"x"}' }, 'for supervisors'],
    ['one of ours', [], { OPENSHELL_USER_ENVIRONMENT: '{"CASTELLAN":"x"}' }, 'for supervisors'],
    ['too many', [], { OPENSHELL_USER_ENVIRONMENT: JSON.stringify(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`A${i}`, '']))) }, 'more than 1024'],
    ['too much', [], { OPENSHELL_USER_ENVIRONMENT: `{"A":"${'x'.repeat(128 * 1024)}"}` }, 'longer than'],
  ])('%s', (_, argv, environment, message) => {
    expect(() => words(argv, environment)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringContaining(message) }),
    );
  }); // biome-ignore format: one row a case

  it('without telling a value that may be a secret', () => {
    for (const text of ['{"A":"hunter2"', '{"A":"hunter2","B C":"hunter2"}', '{"A":["hunter2"]}'])
      try {
        words([], { OPENSHELL_USER_ENVIRONMENT: text });
        expect.unreachable();
      } catch (error) {
        expect(JSON.stringify(error) + String(error)).not.toContain('hunter2');
      }
  });

  it('the help that is pointed to is the one of the words', () => {
    expect(() => words(['--workdri', '/x'])).toThrow(
      expect.objectContaining({ remedy: 'see openshell-sandbox --help' }),
    );
  });
});

describe('nothing is passed over in silence', () => {
  const inWords = (
    name: string,
    value: string,
    topology: Topology,
  ): 'refused' | 'told' | 'used' | 'silent' => {
    const argv = [`--mode=${topology}`];
    try {
      const before = say(argv);
      const after = say(argv, { [name]: value });
      if (after.notes.some((note) => note.includes(name))) return 'told';
      return JSON.stringify(after.words) === JSON.stringify(before.words) ? 'silent' : 'used';
    } catch {
      return 'refused';
    }
  };
  const VALUES: Variables = { OPENSHELL_USER_ENVIRONMENT: '{"A":"b"}', OPENSHELL_LOG_LEVEL: 'info' };
  it.each(OPENSHELL_VARIABLES.map(({ name }) => name))('%s', (name) => {
    for (const topology of TOPOLOGIES)
      expect(inWords(name, VALUES[name] ?? '/x', topology), topology).not.toBe('silent');
  });

  const OPTION_VALUES: Variables = {
    'log-level': 'info',
    'health-port': '',
    mode: '',
    'policy-rules': '',
    interactive: '',
  };
  it.each(PEER_OPTIONS.filter(({ name }) => OPTION_VALUES[name] !== ''))(
    '--$name',
    ({ name, value }: PeerOption) => {
      const option = value === undefined ? [`--${name}`] : [`--${name}`, OPTION_VALUES[name] ?? '/x'];
      for (const topology of TOPOLOGIES) {
        const argv = [`--mode=${topology}`];
        let outcome = 'refused';
        try {
          const [before, after] = [say(argv), say([...argv, ...option])];
          outcome = JSON.stringify(after) === JSON.stringify(before) ? 'silent' : 'heard';
        } catch {}
        expect(outcome, topology).not.toBe('silent');
      }
    },
  );

  it('and what is told is told with its reason', () => {
    expect(say([], DOCKER).notes).toContain(
      'OPENSHELL_TELEMETRY_ENABLED (nothing: castellan sends no telemetry)',
    );
    expect(say(['--mode=network'], COMMON).notes).toContain(
      'OPENSHELL_SSH_SOCKET_PATH (not in --mode=network)',
    );
  });
});

describe('names', () => {
  it.each(['work', 'a', '0-1'])('%s stays', (name) => expect(sandboxNameFor(name)).toBe(name));
  it.each(['Work', 'team--a_very_long_name_of_a_sandbox', '…', '-x', 'x/../y', 'a'.repeat(32), '\0', 'ä'])(
    '%j becomes one of ours, the same each time',
    (name) => {
      const ours = sandboxNameFor(name);
      expect(isSandboxName(ours)).toBe(true);
      expect(sandboxNameFor(name)).toBe(ours);
    },
  );
  it('and different ones stay different', () => {
    expect(sandboxNameFor('Work')).not.toBe(sandboxNameFor('WORK'));
    expect(sandboxNameFor('Work')).toMatch(/^work-[0-9a-f]{8}$/);
  });
});

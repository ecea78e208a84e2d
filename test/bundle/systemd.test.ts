/** The units under a real systemd: started, looked after, reached, stopped, and what the agent can do about it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isRoot } from '../e2e/sandbox.ts';
import { REPOSITORY } from '../fakes/world.ts';
import { type Result, type SystemdMachine, startSystemd } from './systemd.ts';

const POLICY = 'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/usr] }\n';
/** As README shows it. */
const COMMAND = 'COMMAND=/bin/sh -c "echo began >> log; exec sleep infinity"\n';
const UNIT = 'castellan@demo.service';
const CASTELLAN = '/opt/castellan/bin/castellan';

const EXTRA_SOCKETS = `[Socket]
ListenStream=/run/castellan-demo.metrics
FileDescriptorName=metrics
SocketMode=0600
Service=${UNIT}
`;
/** Nobody knows what it is for. */
const ODD_SOCKET = `[Socket]
ListenStream=/run/castellan-demo.odd
Service=${UNIT}
`;

describe.skipIf(!isRoot)('systemd (needs root, and cgroups v2)', () => {
  let machine: SystemdMachine;
  beforeAll(async () => {
    machine = await startSystemd({
      'castellan/demo.yaml': POLICY,
      'castellan/demo.command': COMMAND,
      'castellan/bad.yaml': 'version: 1\nnonsense: true\n',
      'castellan/bad.command': COMMAND,
      'systemd/system/demo-metrics.socket': EXTRA_SOCKETS,
      'systemd/system/demo-odd.socket': ODD_SOCKET,
    });
  });
  afterAll(() => machine?.[Symbol.asyncDispose]());
  afterEach(() => {
    // A failed machine says so in the test.
    sh(
      `systemctl stop ${UNIT} 'castellan@*.socket' demo-metrics.socket demo-odd.socket; systemctl reset-failed; rm -rf /run/systemd/system/${UNIT}.d; systemctl daemon-reload`,
    );
  });

  const sh = (script: string): Result => machine.sh(script);
  const show = (property: string, unit = UNIT): string =>
    sh(`systemctl show -P ${property} ${unit}`).stdout.trim();
  const start = (): void => {
    const { code } = sh(`systemctl start ${UNIT}`);
    expect(code, code === 0 ? '' : sh(`journalctl -u ${UNIT} -o cat --no-pager | tail -n 30`).stdout).toBe(0);
  };
  const inside = (script: string): Result =>
    sh(`${CASTELLAN} ssh --sandbox demo -- '${script.replaceAll("'", "'\\''")}'`);
  /** The process role, whose parent is the main process. */
  const supervisor = (): string => sh(`pgrep -P ${show('MainPID')}`).stdout.trim();
  const overSsh = (name: string, command: string): string =>
    `ssh -F none -o ProxyCommand='${CASTELLAN} ssh-proxy /run/castellan/${name}.ssh' -o UserKnownHostsFile=/run/castellan/${name}/known_hosts -o HostKeyAlias=castellan-${name} -o BatchMode=yes -l sandbox castellan-${name} '${command}'`;

  it('accounts and places are made by its own tools', () => {
    expect(sh('id -un 1337; getent passwd sandbox').stdout).toMatch(/^castellan-net\nsandbox:/);
    expect(sh('stat -c "%n %a %U" /run/castellan /var/log/castellan /etc/castellan').stdout).toBe(
      '/run/castellan 711 root\n/var/log/castellan 700 root\n/etc/castellan 755 root\n',
    );
  });

  it('the units are clean to its own checker, and as exposed as README says', () => {
    const units = '/etc/systemd/system/castellan@.service /etc/systemd/system/castellan@.socket';
    const { code, stdout, stderr } = sh(`systemd-analyze verify --man=no ${units}`);
    expect(stdout + stderr).toBe('');
    expect(code).toBe(0);
    const told = /exposure level [^\d]*([\d.]+)/i;
    const { stdout: table } = sh('systemd-analyze security --no-pager castellan@demo.service');
    const readme = readFileSync(join(REPOSITORY, 'README.md'), 'utf8');
    expect(Number(told.exec(table)?.[1])).toBeLessThanOrEqual(Number(told.exec(readme)?.[1]));
  });

  it('a sandbox is active once its command runs, and not before', () => {
    start();
    expect(sh(`${CASTELLAN} probe ready --sandbox demo`)).toMatchObject({ code: 0, stdout: 'ready\n' });
    expect(sh('cat /var/lib/castellan/demo/log').stdout).toContain('began');
    const times = sh(
      `date +%s%6N -d "$(systemctl show --timestamp=us -P ActiveEnterTimestamp ${UNIT})"; grep -h '"main sh started' /var/log/castellan/demo-*.jsonl | tail -n 1 | grep -o '"time":[0-9]*'`,
    ).stdout;
    const [active = '', launched = ''] = times.split('\n');
    expect(Number(active) / 1000).toBeGreaterThanOrEqual(Number(launched.replace(/\D/g, '')));
    expect(launched).not.toBe('');
  });

  it('the agent is confined', () => {
    start();
    const { stdout, stderr } = inside(
      'id -un; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status; touch mine && echo wrote; touch /tmp/x /var/lib/x /etc/x /opt/castellan/x; env | grep -E "LISTEN|NOTIFY|WATCHDOG|INVOCATION"; ls -d /proc/1; ls -d /proc/self/fd/*',
    );
    expect(stdout.replaceAll('\t', ' ')).toBe(
      [
        ...['sandbox', 'CapEff: 0000000000000000', 'NoNewPrivs: 1', 'Seccomp: 2', 'wrote'],
        ...['/proc/self/fd/0', '/proc/self/fd/1', '/proc/self/fd/2', ''],
      ].join('\n'),
    );
    for (const path of ['/tmp/x', '/var/lib/x', '/etc/x', '/opt/castellan/x'])
      expect(stderr).toMatch(new RegExp(`'${path}': (Permission denied|Read-only file system)`));
    expect(sh('stat -c %U /var/lib/castellan/demo/mine').stdout).toBe('sandbox\n');
    const group = sh(`cat /proc/$(pgrep -x sleep)/cgroup`).stdout;
    expect(group).toMatch(/system-castellan\.slice\/castellan@demo\.service\/castellan-demo-\d+\n/);
  });

  it('the agent cannot speak for the service', () => {
    start();
    const { stdout } = inside(
      'for word in STATUS=evil WATCHDOG=trigger; do NOTIFY_SOCKET=/run/systemd/notify systemd-notify --no-block $word && echo told; done; echo tried',
    );
    expect(stdout).toBe('tried\n');
    expect(show('StatusText')).toBe('');
    expect(show('ActiveState')).toBe('active');
  });

  it('a stop is clean, and leaves nothing', () => {
    start();
    expect(sh(`systemctl stop ${UNIT}`).code).toBe(0);
    expect([show('ActiveState'), show('Result')]).toEqual(['inactive', 'success']);
    expect(
      sh(
        'ls /run/castellan; pgrep -u sandbox; pgrep -u castellan-net; find /sys/fs/cgroup -name "castellan-demo*"',
      ).stdout,
    ).toBe('');
    expect(sh(`${CASTELLAN} audit "$(ls /var/log/castellan/* | tail -n 1)"`).stdout).toContain('verified');
  });

  it('a TERM to all of its processes at once is a stop like any other', async () => {
    start();
    sh(`systemctl kill ${UNIT}`);
    await expect.poll(() => show('ActiveState'), { timeout: 20_000 }).toBe('inactive');
    expect([show('Result'), show('NRestarts')]).toEqual(['success', '0']);
  });

  it('a supervisor that takes no turn any more is ended with all that it governed, and started anew', async () => {
    sh(
      `mkdir -p /run/systemd/system/${UNIT}.d; printf '[Service]\\nWatchdogSec=2\\n' > /run/systemd/system/${UNIT}.d/watchdog.conf; systemctl daemon-reload`,
    );
    start();
    const [main, agents] = [show('MainPID'), sh('pgrep -u sandbox').stdout.trim().split('\n')];
    sh(`kill -STOP ${supervisor()}`);
    await expect.poll(() => show('NRestarts'), { timeout: 20_000 }).toBe('1');
    await expect.poll(() => show('ActiveState'), { timeout: 20_000 }).toBe('active');
    expect(show('MainPID')).not.toBe(main);
    expect(sh('pgrep -u sandbox').stdout.split('\n')).not.toEqual(expect.arrayContaining(agents));
    expect(sh(`journalctl -u ${UNIT} -o cat --no-pager`).stdout).toContain('Watchdog timeout');
  });

  it('a killed init takes everything along, and the next start is clean', async () => {
    start();
    const main = show('MainPID');
    sh(`systemctl kill --signal=KILL --kill-whom=main ${UNIT}`);
    await expect.poll(() => show('NRestarts'), { timeout: 20_000 }).toBe('1');
    await expect.poll(() => show('ActiveState'), { timeout: 20_000 }).toBe('active');
    expect(show('MainPID')).not.toBe(main);
    expect(inside('id -un').stdout).toBe('sandbox\n');
    expect(sh('pgrep -c -u castellan-net').stdout).toBe('1\n');
  });

  it('what castellan refuses is not tried again', () => {
    expect(sh('systemctl start castellan@bad.service').code).not.toBe(0);
    const bad = (property: string) => show(property, 'castellan@bad.service');
    expect([bad('ActiveState'), bad('ExecMainStatus'), bad('NRestarts')]).toEqual(['failed', '102', '0']);
  });

  describe('sockets', () => {
    it('the first SSH connection starts the sandbox, and waits for it', () => {
      sh('systemctl start castellan@demo.socket');
      expect(show('ActiveState')).toBe('inactive');
      const { stdout, stderr } = sh(
        overSsh('demo', 'id -un; env | grep -c LISTEN; ls /proc/self/fd | wc -l'),
      );
      expect(stdout, stderr).toBe('sandbox\n0\n4\n');
      expect(show('ActiveState')).toBe('active');
      expect(inside('id -un').stdout).toBe('sandbox\n');
      sh(`systemctl stop ${UNIT}`);
      expect(sh(overSsh('demo', 'id -un')).stdout).toBe('sandbox\n');
    });

    it('the agent does not reach the socket, and nobody but the owner is let in', () => {
      sh('systemctl start castellan@demo.socket');
      start();
      const connect =
        'import socket; s = socket.socket(socket.AF_UNIX); s.connect("/run/castellan/demo.ssh"); print("in")';
      expect(inside(`python3 -c '${connect}'`).stdout).toBe('');
      sh('chmod 777 /run/castellan/demo.ssh');
      const greeting = connect.replace('print("in")', 'print(s.recv(9))');
      expect(sh(`setpriv --reuid nobody --clear-groups python3 -c '${greeting}'`).stdout).toBe("b''\n");
    });

    it('the first who asks for metrics on one starts it as well, and the agent gets none', () => {
      sh('systemctl start demo-metrics.socket');
      const scrape = 'curl -sS --unix-socket /run/castellan-demo.metrics http://castellan/metrics';
      expect(sh(scrape).stdout).toContain('castellan_build_info{');
      start();
      expect(sh(scrape).stdout).toContain('castellan_role_up{role="network"} 1');
      expect(inside(scrape).stdout).toBe('');
    });

    it('one for nothing that is known is refused', () => {
      sh('systemctl start demo-odd.socket');
      expect(sh(`systemctl start ${UNIT}`).code).not.toBe(0);
      expect(sh(`journalctl -u ${UNIT} -o cat --no-pager`).stdout).toContain('FileDescriptorName=');
      expect(show('ExecMainStatus')).toBe('100');
    });

    it('a sandbox that cannot start ends its socket, and who waits is told', () => {
      sh('systemctl start castellan@bad.socket');
      expect(sh(overSsh('bad', 'true')).stderr).toContain('Connection closed');
      expect(show('Result', 'castellan@bad.socket')).toBe('service-start-limit-hit');
    });
  });
});

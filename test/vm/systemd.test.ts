/** The unit under systemd as the first process of a guest: what its cgroup bounds, on a kernel whose controllers are there to be delegated. */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { copyProgram, runGuest } from './guest.ts';

/** Software emulation is some twenty times slower, and this machine may be loaded. */
const GUEST_DEADLINE_MS = 8 * 60_000;
const REPOSITORY = join(import.meta.dirname, '../..');
const UNITS = '/usr/lib/systemd/system';
/** The rest of the directory is for machines with disks, seats and users. */
const DAEMONS = ['systemd', 'systemd-journald', 'systemd-shutdown', 'systemd-executor'];

/** The unit as it is, but for the place of the program in a guest and for limits. */
const LIMITED = `[Service]
ExecStart=
ExecStart=/opt/castellan/build/bin/castellan run --name %i --policy /etc/castellan/%i.yaml --workdir /var/lib/castellan/%i --ownership chown --limit memory=64M --limit pids=24 --quiet -- $COMMAND
TimeoutStartSec=300
`;

const SCRIPT = `
section() { echo "== $1"; }
section start
systemctl start castellan@demo.service
# Where the emulator is too slow for a deadline of castellan's own, systemd starts it anew.
until [ "$(systemctl is-active castellan@demo.service)" = active ]; do sleep 0.5; done
systemctl show -P ActiveState castellan@demo.service
group=/sys/fs/cgroup/system.slice/system-castellan.slice/castellan@demo.service
cat $group/cgroup.subtree_control
ls $group | grep castellan-demo | sed 's/[0-9]\\+/PID/'
cat $group/castellan-demo-*[0-9]/memory.max $group/castellan-demo-*[0-9]/pids.max
section agent
until [ -e /var/lib/castellan/demo/finished ]; do sleep 0.2; done
cat /var/lib/castellan/demo/log
systemctl show -P ActiveState castellan@demo.service
section stop
systemctl stop castellan@demo.service; echo "exit $?"
systemctl show -P Result castellan@demo.service
grep -ho 'the memory limit killed [0-9]* of its processes' /var/log/castellan/*.jsonl | head -n 1
ls /run/castellan | wc -l
ls -d $group 2>/dev/null | wc -l
`;

/** The shell gives up where it can no longer fork. */
const COMMAND = `COMMAND=/bin/bash -c "tail /dev/zero; echo tail $? >> log; (for i in {1..40}; do sleep 1000 & done) 2>> log; echo > finished; exec sleep 1000"\n`;

const GUEST_SERVICE = `[Unit]
After=basic.target
Requires=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /script
ExecStopPost=/bin/bash -c 'echo "== end"; echo o > /proc/sysrq-trigger'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
TimeoutStartSec=infinity
`;

function furnish(root: string): void {
  cpSync(UNITS, join(root, UNITS), { recursive: true, verbatimSymlinks: true });
  for (const name of DAEMONS.filter((each) => readdirSync('/usr/lib/systemd').includes(each)))
    copyProgram(root, join('/usr/lib/systemd', name));
  copyFileSync(join(import.meta.dirname, 'systemd-init.sh'), join(root, 'init'));
  chmodSync(join(root, 'init'), 0o755);
  const files: Readonly<Record<string, string>> = {
    'systemd/system/guest.service': GUEST_SERVICE,
    'systemd/system/guest.target': '[Unit]\nRequires=guest.service\nAfter=guest.service\n',
    'systemd/system/castellan@.service': readFileSync(join(REPOSITORY, 'systemd/castellan@.service'), 'utf8'),
    'systemd/system/castellan@.service.d/guest.conf': LIMITED,
    'castellan/demo.yaml':
      'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/usr] }\nprocess: { run_as_user: agent, run_as_group: agent }\n',
    'castellan/demo.command': COMMAND,
    'machine-id': 'b08dfa6083e7567a1921a715000001fb\n',
    'os-release': 'ID=guest\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\n',
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, 'etc', name, '..'), { recursive: true });
    writeFileSync(join(root, 'etc', name), text);
  }
}

let sections: ReadonlyMap<string, string>;

beforeAll(async () => {
  const programs = ['systemctl', 'chroot', 'sed', 'umount'];
  const console = await runGuest(SCRIPT, GUEST_DEADLINE_MS, { programs, furnish });
  sections = new Map(
    console.split(/^== /m).map((part): [string, string] => {
      const end = part.indexOf('\n');
      return [part.slice(0, end), part.slice(end + 1)];
    }),
  );
  if (!sections.has('end')) throw new Error(`the guest did not come to its end:\n${console.slice(-8000)}`);
}, GUEST_DEADLINE_MS + 60_000);

const section = (name: string) => sections.get(name) ?? '';

describe('systemd in a guest with Linux 6.1', () => {
  it('delegates its controllers, and the agent is bounded below the service', () => {
    expect(section('start')).toMatch(/^active\n(?=.*memory)(?=.*pids).*\n/);
    expect(section('start')).toContain('castellan-demo-PID\ncastellan-demo-PID-supervisor\n67108864\n24\n');
  });

  it('ends who takes too much, and not the service', () => {
    expect(section('agent')).toMatch(/tail 137\n[\s\S]*fork: .*Resource temporarily unavailable/);
    expect(section('agent')).toMatch(/^active$/m);
  });

  it('stops cleanly, and leaves no cgroup', () => {
    expect(section('stop')).toMatch(/^exit 0\nsuccess\n/);
    expect(section('stop')).toContain('the memory limit killed 1 of its processes');
    expect(section('stop')).toMatch(/\n0\n0\n$/);
  });
});

/** Limits of a cgroup, and the end of everybody in it, on a kernel that has the controllers; Landlock as old as Debian 12's. */
import { beforeAll, describe, expect, it } from 'vitest';
import { runGuest } from './guest.ts';
import { sectionsOf } from './machine.ts';

/** Software emulation is some twenty times slower; a run of castellan takes ten seconds there, and this machine may be loaded. */
const GUEST_DEADLINE_MS = 8 * 60_000;

const SCRIPT = `
cat > /policy.yaml <<'X'
version: 1
filesystem_policy: { include_workdir: true, read_write: [/work] }
process: { run_as_user: agent, run_as_group: agent }
X
chown 1500:1500 /work
castellan() { /opt/castellan/build/bin/castellan "$@"; }
section() { echo "== $1"; }
run() { castellan run --policy /policy.yaml --workdir /work "$@"; echo "exit $?"; }

section kernel
uname -r
cat /sys/fs/cgroup/cgroup.controllers

section memory
run --limit memory=64M -- bash -c 'tail /dev/zero; echo "tail ended with $?"'

section pids
run --limit pids=16 -- bash -c 'for i in $(seq 40); do sleep 1000 & done; echo unreachable' 2>&1
ls -d /sys/fs/cgroup/castellan-* 2>/dev/null | wc -l

section cpu
run --limit cpu=0.25 -- bash -c 'read -r _ me < <(cat /proc/self/cgroup | tr : " ") ; end=$((SECONDS + 3)); while [ $SECONDS -lt $end ]; do :; done; echo spun' &
main=$!
until [ -e /sys/fs/cgroup/castellan-*/cpu.max ] || ! kill -0 $main; do sleep 0.2; done
group=$(echo /sys/fs/cgroup/castellan-*)
cat $group/cpu.max
until grep -q '^nr_throttled [1-9]' $group/cpu.stat; do sleep 0.2; [ -e $group ] || break; done && echo throttled
wait $main

section daemons
run -- bash -c 'for i in 1 2 3; do (setsid bash -c "trap \\"\\" TERM HUP; while :; do sleep 1; done" &) ; done; echo forked'
ls -d /sys/fs/cgroup/castellan-* 2>/dev/null | wc -l
grep -lc 'tra[p]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l

section rootless
mkdir /sys/fs/cgroup/caller && echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control
chown 1600:1600 /sys/fs/cgroup/caller /sys/fs/cgroup/caller/cgroup.procs /sys/fs/cgroup/caller/cgroup.subtree_control
mkdir -p /home/w && chown -R 1600:1600 /home
echo 'version: 1' > /rootless.yaml
( echo 0 > /sys/fs/cgroup/caller/cgroup.procs
  cd /home/w && HOME=/home exec setpriv --reuid 1600 --regid 1600 --clear-groups --bounding-set -all \\
  /opt/castellan/build/bin/castellan run --policy /rootless.yaml --limit memory=64M -- bash -c 'tail /dev/zero; echo "tail ended with $?"' )
echo "exit $?"
ls /sys/fs/cgroup/caller | grep -c castellan
`;

let sections: ReadonlyMap<string, string>;

beforeAll(async () => {
  sections = sectionsOf(await runGuest(SCRIPT, GUEST_DEADLINE_MS));
}, GUEST_DEADLINE_MS + 60_000);

const section = (name: string) => sections.get(name) ?? '';

describe('in a guest with Linux 6.1', () => {
  it('has the controllers, and Landlock of ABI 2', () => {
    expect(section('kernel')).toMatch(/^6\.1\..*\n(?=.*memory)(?=.*pids)(?=.*cpu)/);
    expect(section('memory')).toContain('landlock: ABI 2');
  });

  it('kills who takes more memory than the limit, and says so', () => {
    expect(section('memory')).toContain('tail ended with 137');
    expect(section('memory')).toMatch(/exit 0$/m);
    expect(section('memory')).toContain('the memory limit killed 1 of its processes');
  });

  it('refuses processes beyond the limit, and ends those there are', () => {
    expect(section('pids')).toMatch(/fork: .*Resource temporarily unavailable/);
    expect(section('pids')).not.toContain('unreachable');
    expect(section('pids')).toContain('the limit of processes was hit');
    expect(section('pids')).toMatch(/\n0\n$/);
  });

  it('holds the share of a CPU', () => {
    expect(section('cpu')).toContain('25000 100000');
    expect(section('cpu')).toContain('throttled');
    expect(section('cpu')).toContain('spun');
  });

  it('ends daemons that forked away and ignore signals, and leaves no cgroup', () => {
    expect(section('daemons')).toContain('forked');
    expect(section('daemons')).toMatch(/exit 0\n[\s\S]*^0\n0\n$/m);
  });

  it('limits a rootless run in a cgroup that was delegated to it', () => {
    expect(section('rootless')).toContain('tail ended with 137');
    expect(section('rootless')).toMatch(/exit 0\n0\n/);
  });
});

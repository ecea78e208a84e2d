/** The bundle for aarch64 on a kernel of aarch64: a whole run, with everything that no emulation of single programs reaches. */
import { beforeAll, describe, expect, it } from 'vitest';
import { EVIL_WORD } from '../bundle/images.ts';
import { ABSENT, all, answersTo, callsHeader, ENOSYS, EPERM, LEFT, REFUSED } from '../native/system-calls.ts';
import { runArm64Guest } from './guest-arm64.ts';
import { sectionsOf } from './machine.ts';

/** It takes less than a minute of a CPU's time; this machine may be loaded. */
const GUEST_DEADLINE_MS = 8 * 60_000;

const ORIGIN = '10.9.8.7';

const SCRIPT = `
cat > /policy.yaml <<'END'
version: 1
filesystem_policy: { include_workdir: true, read_only: [/bin], read_write: [/work] }
process: { run_as_user: agent, run_as_group: agent }
network_policies:
  origin:
    endpoints: [{ host: allowed.test, ports: [8080], allowed_ips: [${ORIGIN}/32] }]
    binaries: [{ path: /bin/busybox }]
END
chown 1500:1500 /work
mkdir -p /srv && echo 'from the origin' > /srv/page
ip addr add ${ORIGIN}/32 dev lo
httpd -p ${ORIGIN}:8080 -h /srv
for name in allowed forbidden; do echo ${ORIGIN} $name.test >> /etc/hosts; done
castellan() { /opt/castellan/bin/castellan "$@"; }
section() { echo "== $1"; }
run() { castellan run --quiet --policy /policy.yaml --workdir /work --audit-file /var/log/audit.jsonl "$@"; echo "exit $?"; }

section machine
uname -m
castellan --version
castellan doctor

section agent
run -- sh -c 'id -u; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status; touch x && echo wrote; touch /etc/x; cat /var/log/audit.jsonl; unshare -n true; exit 7'

section egress
run -- sh -c 'for name in allowed forbidden; do wget -q -O - http://$name.test:8080/page; done
env -u http_proxy -u HTTP_PROXY wget -q -O - http://allowed.test:8080/page
env -u http_proxy -u HTTP_PROXY wget -q -O - http://${ORIGIN}:8080/page
nslookup forbidden.test | grep -m 1 REFUSED'

section calls
run -- sh -c 'system-calls ${REFUSED.join(' ')}; echo; system-calls ${LEFT.join(' ')}; echo; system-calls ${ABSENT.join(' ')}'

section terminal
run --name terminal --retain --tty -- sh -c 'tty; touch started; until [ -e told ]; do sleep 1; done; exit 3' > /tmp/terminal 2>&1 &
until [ -e /work/started ]; do kill -0 $! || break; sleep 1; done
until castellan probe ready --sandbox terminal; do kill -0 $! || break; sleep 1; done
castellan ssh --sandbox terminal -- 'id -u; grep ^Seccomp: /proc/self/status; touch told'
wait $!
cat /tmp/terminal

section log
castellan audit /var/log/audit.jsonl

section rootless
mkdir /home/work && chown -R 1600:1600 /home
echo 'version: 1' > /rootless.yaml
cat > /rootless.sh <<'END'
cd /home/work
/opt/castellan/bin/castellan run --quiet --policy /rootless.yaml -- sh -c 'id -u; grep ^Seccomp: /proc/self/status; wget -q -O - http://${ORIGIN}:8080/page'
END
su caller -c 'sh /rootless.sh'
echo "exit $?"

section image
ssh -V
`;

let sections: ReadonlyMap<string, string>;
beforeAll(async () => {
  const guest = { script: SCRIPT, systemCalls: callsHeader([...REFUSED, ...LEFT, ...ABSENT]) };
  sections = sectionsOf(await runArm64Guest(guest, GUEST_DEADLINE_MS));
}, GUEST_DEADLINE_MS + 60_000);

const section = (name: string): string => sections.get(name) ?? '';

describe('a guest of aarch64, with the bundle in a hostile image', () => {
  it('has what a run takes', () => {
    expect(section('machine')).toMatch(/^aarch64\ncastellan \d/);
    expect(section('machine')).toMatch(/egress +enforced: sealed network namespace/);
    expect(section('machine')).toMatch(/files +enforced: Landlock/);
    expect(section('machine')).toMatch(/system calls +enforced: seccomp/);
  });

  it('the agent is who it should be, confined, and its exit code is castellan’s', () => {
    expect(section('agent').replaceAll('\t', ' ')).toBe(
      `1500\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\nwrote
touch: /etc/x: Permission denied
unshare: unshare(0x40000000): Operation not permitted
exit 7\n`,
    );
  });

  it('reaches what the policy allows, by the proxy and past it, and nothing else', () => {
    const lines = section('egress').split('\n');
    const page = 'from the origin';
    const refusal = 'wget: server returned error: HTTP/1.1 403 Forbidden';
    // The name that is not asked of the proxy is looked up by the image’s own program, which loads what the image tells it to.
    expect(lines.filter((line) => line !== EVIL_WORD)).toEqual([
      page,
      refusal,
      page,
      refusal,
      "** server can't find forbidden.test: REFUSED",
      'exit 0',
      '',
    ]);
  });

  it('system calls are refused, left and absent as the profile says, by their numbers here', () => {
    const [refused = '', left = '', rest = ''] = section('calls').split('\n\n');
    const [absent = ''] = rest.split('exit 0');
    expect(answersTo(REFUSED, refused)).toEqual(all(REFUSED, EPERM));
    expect(answersTo(LEFT, left)).toEqual(all(LEFT, 'passed'));
    expect(answersTo(ABSENT, absent)).toEqual(all(ABSENT, ENOSYS));
  });

  it('lets people in by SSH, and runs the main process on a terminal', () => {
    expect(section('terminal')).toMatch(/^ready$/m);
    expect(section('terminal').replaceAll('\t', ' ')).toMatch(/^1500\nSeccomp: 2$/m);
    expect(section('terminal')).toMatch(/\/dev\/pts\/\d+\nexit 3\n/);
  });

  it('the log of all that is whole', () => {
    expect(section('log')).toMatch(/^verified: \d+ records, 4 runs, 0 without a closing record/);
  });

  it('runs without root', () => {
    expect(section('rootless').replaceAll('\t', ' ')).toBe(
      '1600\nSeccomp: 2\nwget: server returned error: HTTP/1.1 403 Forbidden\nexit 1\n',
    );
  });

  it('castellan loads nothing of the image, which its own programs do', () => {
    expect(section('image')).toContain(EVIL_WORD);
    for (const name of ['machine', 'agent', 'calls', 'log', 'rootless'])
      expect([name, section(name)]).toEqual([name, expect.not.stringContaining(EVIL_WORD)]);
  });
});

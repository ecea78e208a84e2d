"""Makes system calls from inside the sandbox and prints, a line each, NAME and the errno's name or ok."""
import ctypes, errno, os, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = dict(read=0, ptrace=101, mount=165, umount2=166, unshare=272, setns=308, bpf=321, keyctl=250, add_key=248,
               perf_event_open=298, userfaultfd=323, io_uring_setup=425, clone3=435, pivot_root=155, chroot=161, kexec_load=246,
               init_module=175, reboot=169, swapon=167, open_by_handle_at=304, process_vm_readv=310, kcmp=312, pidfd_getfd=438,
               fsopen=430, move_mount=429, open_tree=428, mount_setattr=442, setuid=105, setresuid=117, setgid=106, setgroups=116,
               capset=126, clock_settime=227, acct=163, quotactl=179, syslog=103, modify_ldt=154, unknown=470, x32=0x40000000 + 1,
               sethostname=170, personality_=135, seccomp=317, iopl=172)


def call(name, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(NUMBERS[name], *[ctypes.c_ulong(a) for a in arguments])
    return 'ok' if result != -1 else errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))


def killed(name):
    child = os.fork()
    if child == 0:
        call(name)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return 'SIGSYS' if os.WIFSIGNALED(status) and os.WTERMSIG(status) == 31 else 'ok'


def tries(action):
    try:
        outcome = action()
        return outcome if outcome in ('closed', 'answered') else 'ok'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def ioctl(request):
    import fcntl, pty
    master, slave = pty.openpty()
    fcntl.ioctl(slave, request, b'x')


def talk(path):
    peer = socket.socket(1, 1)
    peer.connect(path)
    peer.settimeout(20)
    return 'answered' if peer.recv(1) else 'closed'


HIGH = 1 << 32
attempts = {
    'unshare user': lambda: call('unshare', 0x10000000), 'unshare net': lambda: call('unshare', 0x40000000),
    'unshare mount': lambda: call('unshare', 0x20000), 'unshare pid': lambda: call('unshare', 0x20000000),
    'setns': lambda: call('setns', 0, 0), 'mount': lambda: call('mount', 0, 0, 0, 0, 0), 'umount': lambda: call('umount2', 0, 0),
    'fsopen': lambda: call('fsopen', 0, 0), 'open_tree': lambda: call('open_tree', 0, 0, 0), 'move_mount': lambda: call('move_mount', 0, 0, 0, 0, 0),
    'mount_setattr': lambda: call('mount_setattr', 0, 0, 0, 0, 0), 'pivot_root': lambda: call('pivot_root', 0, 0), 'chroot': lambda: call('chroot', 0),
    'ptrace': lambda: call('ptrace', 16, os.getppid(), 0, 0), 'process_vm_readv': lambda: call('process_vm_readv', os.getppid(), 0, 0, 0, 0, 0),
    'kcmp': lambda: call('kcmp', 1, 1, 0, 0, 0), 'pidfd_getfd': lambda: call('pidfd_getfd', 0, 0, 0), 'bpf': lambda: call('bpf', 0, 0, 0),
    'perf_event_open': lambda: call('perf_event_open', 0, 0, 0, 0, 0), 'userfaultfd': lambda: call('userfaultfd', 0),
    'keyctl': lambda: call('keyctl', 0, 0), 'add_key': lambda: call('add_key', 0, 0, 0, 0, 0), 'io_uring': lambda: call('io_uring_setup', 1, 0),
    'clone3': lambda: call('clone3', 0, 0), 'unknown call': lambda: call('unknown'), 'x32 call': lambda: killed('x32'),
    'kexec': lambda: call('kexec_load', 0, 0, 0, 0), 'module': lambda: call('init_module', 0, 0, 0), 'reboot': lambda: call('reboot', 0, 0, 0, 0),
    'swapon': lambda: call('swapon', 0, 0), 'open by handle': lambda: call('open_by_handle_at', 0, 0, 0), 'clock': lambda: call('clock_settime', 0, 0),
    'accounting': lambda: call('acct', 0), 'kernel log': lambda: call('syslog', 3, 0, 0), 'ldt': lambda: call('modify_ldt', 0, 0, 0),
    'listener filter': lambda: call('seccomp', 1, 8, 0), 'listener filter, high bits': lambda: call('seccomp', 1 | HIGH, 8, 0),
    'ports': lambda: call('iopl', 3), 'setuid 0': lambda: call('setuid', 0), 'setresuid 0': lambda: call('setresuid', 0, 0, 0),
    'setgid 0': lambda: call('setgid', 0), 'host name': lambda: tries(lambda: socket.sethostname('x')),
    'packet socket': lambda: tries(lambda: socket.socket(17, socket.SOCK_RAW, 0)), 'vsock': lambda: tries(lambda: socket.socket(40, socket.SOCK_STREAM)),
    'alg socket': lambda: tries(lambda: socket.socket(38, socket.SOCK_SEQPACKET)), 'bluetooth': lambda: tries(lambda: socket.socket(31, socket.SOCK_RAW)),
    'raw IPv4': lambda: tries(lambda: socket.socket(2, socket.SOCK_RAW, 1)), 'raw IPv6': lambda: tries(lambda: socket.socket(10, socket.SOCK_RAW, 58)),
    'netlink audit': lambda: tries(lambda: socket.socket(16, socket.SOCK_RAW, 9)), 'netlink netfilter': lambda: tries(lambda: socket.socket(16, socket.SOCK_RAW, 12)),
    'netlink route': lambda: tries(lambda: socket.socket(16, socket.SOCK_RAW, 0).close()),
    'TIOCSTI': lambda: tries(lambda: ioctl(0x5412)), 'TIOCLINUX': lambda: tries(lambda: ioctl(0x541c)), 'TIOCSETD': lambda: tries(lambda: ioctl(0x5423)),
    'signal the supervisor': lambda: tries(lambda: os.kill(int(sys.argv[1]), 0)), 'signal init': lambda: tries(lambda: os.kill(1, 0)),
    'environment of the supervisor': lambda: tries(lambda: open('/proc/%s/environ' % sys.argv[1], 'rb').read()),
    'memory of the supervisor': lambda: tries(lambda: open('/proc/%s/mem' % sys.argv[1], 'rb')),
    'descriptors of the supervisor': lambda: tries(lambda: os.listdir('/proc/%s/fd' % sys.argv[1])),
    'shadow': lambda: tries(lambda: open('/etc/shadow')), 'write /etc': lambda: tries(lambda: open('/etc/x', 'w')),
    'write /proc/sys': lambda: tries(lambda: open('/proc/sys/kernel/hostname', 'w')), 'read /root': lambda: tries(lambda: os.listdir('/root')),
    'read /sys': lambda: tries(lambda: os.listdir('/sys')), 'disk': lambda: tries(lambda: open('/dev/vda', 'rb')), 'kernel memory': lambda: tries(lambda: open('/dev/kmsg')),
    'hard link to a protected file': lambda: tries(lambda: os.link('/etc/passwd', 'stolen')),
    'symbolic link to a protected file': lambda: tries(lambda: (os.path.lexists('link') or os.symlink(sys.argv[2], 'link'), open('link'))),
    'connect to the ssh socket': lambda: tries(lambda: talk(sys.argv[3])),
    'the proxy’s own listener port': lambda: tries(lambda: socket.create_connection(('127.0.0.1', 15001), 5)),
    'take the DNS port': lambda: tries(lambda: socket.socket(2, 2).bind(('127.0.0.1', 15053))),
    'core dump': lambda: 'ok' if __import__('resource').getrlimit(4) != (0, 0) else 'none',
}
for name, attempt in attempts.items():
    print(name, attempt(), sep='\t', flush=True)

"""What an agent in a pod tries. Gets places as one JSON argument; prints a line of JSON for each attempt: its name, and how it ended."""
import ctypes, errno, glob, json, os, signal, socket, subprocess, sys

places = json.loads(sys.argv[1])
# A datagram socket that is connected and sends nothing.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.connect(('192.0.2.1', 53))
    places['address'] = asked.getsockname()[0]
libc = ctypes.CDLL(None, use_errno=True)
control = places['control']
UNIX_SOCKET = f'{control}/control.sock'


def system(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), 'refused')
    return 'ok'


def dial(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        return 'connected'


def run_directory():
    """Cannot be listed; the environment tells it, for the certificate authority's sake."""
    return os.path.dirname(os.path.dirname(os.environ.get('CURL_CA_BUNDLE', '/nowhere/at/all')))


def answer(path, question):
    """The first line of it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(question)
        return client.recv(1000).decode().split('\r\n')[0] or 'closed'


def bind(address, port, kind=socket.SOCK_STREAM, reuse=False):
    with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind) as server:
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((address, port))
        return 'bound'


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()


def write(path):
    with open(path, 'w') as file:
        file.write('x')
    os.unlink(path)
    return 'written'


def read(path):
    with open(path, 'rb') as file:
        return f'{len(file.read(100))} bytes'


def strangers():
    """Processes that are none of ours."""
    ours, pids = set(), {int(name): None for name in os.listdir('/proc') if name.isdigit()}
    for pid in pids:
        try:
            pids[pid] = int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[1])
        except OSError:
            pass
    top = os.getppid()
    for pid in pids:
        above = pid
        while above:
            if above == top:
                ours.add(pid)
                break
            above = pids.get(above)
    return sorted(set(pids) - ours)


def of_strangers(attempt):
    """All the ways in which it ends."""
    return sorted({ending(lambda: attempt(pid)) for pid in strangers()})


def ending(attempt):
    try:
        return attempt()
    except TimeoutError:
        return 'timeout'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


ATTEMPTS = {
    'become root': lambda: os.setuid(0),
    'become the proxy': lambda: os.setresuid(places['proxy'], places['proxy'], places['proxy']),
    'join the proxy’s group': lambda: os.setgid(places['proxy']),
    'take groups': lambda: os.setgroups([0, places['proxy']]),
    'a program that becomes root': lambda: output(places['setuid'], 'id', '-u'),
    'a program that switches users': lambda: output(places['setuid'], 'su', '-s', '/bin/sh', '-c', '/bin/busybox id -u', 'root'),
    'a user namespace': lambda: system(libc.unshare(0x10000000)),
    'mount': lambda: system(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)),
    'packets': lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close(),
    'raw IPv4': lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    'the fence’s own rules': lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close(),
    'a setting of the network': lambda: write('/proc/sys/net/ipv4/ip_forward'),
    'list the control directory': lambda: os.listdir(control),
    'make a file in the control directory': lambda: write(f'{control}/mine'),
    'rename the control directory': lambda: os.rename(control, f'{control}2'),
    'rename something in it': lambda: os.rename(UNIX_SOCKET, f'{control}/other'),
    'take the control socket away': lambda: os.unlink(UNIX_SOCKET),
    'put a socket in its place': lambda: socket.socket(socket.AF_UNIX).bind(UNIX_SOCKET),
    'link into the control directory': lambda: os.symlink('/tmp', UNIX_SOCKET),
    'connect to the control socket': lambda: dial(UNIX_SOCKET),
    'read the token': lambda: read(f'{UNIX_SOCKET}.token'),
    'list castellan’s run directory': lambda: os.listdir(f'{places["run"]}/castellan'),
    'see a socket for SSH': lambda: str(glob.glob(f'{places["run"]}/castellan/*/ssh.sock')),
    'sessions by castellan’s socket': lambda: answer(f'{run_directory()}/ssh.sock', b''),
    'metrics by castellan’s socket': lambda: answer(f'{run_directory()}/health.sock', b'GET /metrics HTTP/1.0\r\n\r\n'),
    'another socket there': lambda: dial(f'{run_directory()}/other.sock'),
    'write castellan’s run directory': lambda: write(f'{places["run"]}/mine'),
    'environment of strangers': lambda: of_strangers(lambda pid: read(f'/proc/{pid}/environ')),
    'memory of strangers': lambda: of_strangers(lambda pid: read(f'/proc/{pid}/mem')),
    'files of strangers': lambda: of_strangers(lambda pid: str(os.listdir(f'/proc/{pid}/fd'))),
    'root of strangers': lambda: of_strangers(lambda pid: str(os.listdir(f'/proc/{pid}/root'))),
    'trace strangers': lambda: of_strangers(lambda pid: system(libc.ptrace(16, pid, 0, 0))),
    'signal strangers': lambda: of_strangers(lambda pid: os.kill(pid, 0)),
    'signal everybody': lambda: os.kill(-1, 0),
    'the proxy’s port': lambda: bind('127.0.0.1', 3128),
    'the proxy’s port, shared': lambda: bind('127.0.0.1', 3128, reuse=True),
    'the proxy’s port, by IPv6': lambda: bind('::1', 3128),
    'the transparent port': lambda: bind('127.0.0.1', 15001, reuse=True),
    'the resolver’s port': lambda: bind('127.0.0.1', 15053, socket.SOCK_DGRAM, reuse=True),
    'the port of health, shared': lambda: bind(places['address'], places['health'], reuse=True),
    'a secret of castellan’s': lambda: read('/etc/castellan-secrets/credentials/credentials.yaml'),
    'the policy': lambda: read('/etc/castellan/policy.yaml'),
    'the log': lambda: str(os.listdir('/var/log/castellan')),
    'write the program': lambda: write('/opt/castellan/bin/mine'),
    'write /usr': lambda: write('/usr/mine'),
    'write /etc': lambda: write('/etc/mine'),
    'write /': lambda: write('/mine'),
    'write /run': lambda: write('/run/mine'),
    'write the log’s place': lambda: write('/var/log/mine'),
    'write the workspace': lambda: write('mine'),
    'write /tmp': lambda: write('/tmp/mine'),
}


for name, attempt in ATTEMPTS.items():
    result = ending(attempt)
    print(json.dumps([name, 'ok' if result is None else result], ensure_ascii=False), flush=True)

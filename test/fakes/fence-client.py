"""Attempts of one user of a fenced namespace to reach something. Reads one JSON request a line (a name, arguments,
perhaps an object of named ones), answers with one JSON line: what the other end said, `sent`, `timeout`, or a symbolic errno."""
import errno, json, os, random, select, socket, struct, sys, threading

IP_PKTINFO = 8
held = []


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def resolved(address, port, kind=socket.SOCK_DGRAM):
    return socket.getaddrinfo(address, port, type=kind, flags=socket.AI_NUMERICHOST)[0][4]


def said(client):
    return client.recv(200).decode().strip() or 'closed'


def stream(address, port, protocol=0, source=None, device=None, text=None, options=()):
    with socket.socket(family_of(address), socket.SOCK_STREAM, protocol) as client:
        client.settimeout(TIMEOUT)
        if source is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(('', source))
        if device is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        for level, option, value in options:
            client.setsockopt(level, option, bytes.fromhex(value))
        if text is None:
            client.connect(resolved(address, port))
        else:
            client.settimeout(None)
            client.sendto(text.encode(), socket.MSG_FASTOPEN, resolved(address, port))
            client.settimeout(TIMEOUT)
        return said(client)


def datagram(address, port, protocol=0, source=None, device=None, text='x', size=None, options=(), broadcast=False, answered=True):
    with socket.socket(family_of(address), socket.SOCK_DGRAM, protocol) as client:
        client.settimeout(TIMEOUT)
        if source is not None:
            client.bind(('', source))
        if device is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if broadcast:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for level, option, value in options:
            client.setsockopt(level, option, bytes.fromhex(value))
        client.sendto(text.encode() * (size or 1), resolved(address, port))
        return said(client) if answered else 'sent'


def ping(address):
    six = family_of(address) == socket.AF_INET6
    with socket.socket(family_of(address), socket.SOCK_DGRAM, 58 if six else 1) as client:
        client.settimeout(TIMEOUT)
        client.sendto(struct.pack('!BBHHH', 128 if six else 8, 0, 0, 1, 1) + b'attempt', resolved(address, 0))
        client.recv(200)
        return 'echo'


def raw(family, kind, protocol):
    socket.socket(getattr(socket, family), getattr(socket, kind), protocol).close()
    return 'opened'


def own_service(address):
    """A server of the agent's own, and its client."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as server:
        server.bind(resolved(address, 0))
        server.listen()
        with socket.create_connection(server.getsockname()[:2], TIMEOUT) as client:
            with server.accept()[0] as accepted:
                accepted.sendall(b'own service')
            return said(client)


def own_datagrams(address):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as server:
        server.bind(resolved(address, 0))
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
            client.sendto(b'own datagram', server.getsockname())
            server.settimeout(TIMEOUT)
            return said(server)


def listen(address, port):
    server = socket.socket(family_of(address), socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(resolved(address, port))
    server.listen()
    server.settimeout(TIMEOUT)
    held.append(server)
    return 'listening'


def squat(address, port):
    """Answers on a port of the proxy's, by TCP and UDP, in its place."""
    queries = socket.socket(family_of(address), socket.SOCK_DGRAM)
    server = socket.socket(family_of(address), socket.SOCK_STREAM)
    for taken in (queries, server):
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(resolved(address, port))
    server.listen()

    def answer_streams():
        while True:
            with server.accept()[0] as client:
                client.sendall(b'squatter')

    def answer_queries():
        while True:
            _, sender = queries.recvfrom(1000)
            try:
                queries.sendto(b'squatter', sender)
            except OSError:
                pass

    for answer in (answer_streams, answer_queries):
        threading.Thread(target=answer, daemon=True).start()
    return 'squatting'


def open_stream(address, port):
    """A connection that is kept for `say`."""
    client = socket.create_connection((address, port), TIMEOUT)
    held.append(client)
    return said(client)


def accept():
    """Whether somebody connected; the connection is kept in the listener's place."""
    server = held.pop()
    try:
        held.append(server.accept()[0])
        return 'accepted'
    finally:
        server.close()


def say(text):
    held[-1].sendall(text.encode())
    return 'sent'


def state():
    """Whether the kept connection still lives, after its peer's answer or a reset has had time to come."""
    held[-1].settimeout(TIMEOUT)
    return said(held[-1])


def close():
    while held:
        held.pop().close()
    return 'closed'


def bulk(address, port, size):
    """Fills the send buffer and closes at once: the kernel has to send the rest for nobody."""
    client = socket.socket(family_of(address), socket.SOCK_STREAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size * 2)
    client.settimeout(TIMEOUT)
    client.connect(resolved(address, port))
    client.setblocking(False)
    sent = client.send(bytes(size))
    client.close()
    return sent


def connections(address, port, count):
    """One after the other, each answered."""
    for _ in range(count):
        stream(address, port)
    return 'done'


def join(group, device):
    """Multicast groups are joined by reports that the kernel sends."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as member:
        index = socket.if_nametoindex(device)
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack('@I', index))
    return 'joined'


def storm(seed, count, targets, device):
    """Sockets of every kind with options of every kind, none of which may bring a byte out. Gives how the sendings ended."""
    choose = random.Random(seed)
    index = socket.if_nametoindex(device)
    endings = {}
    for _ in range(count):
        target = choose.choice(targets)
        six = ':' in target
        level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        kind = choose.choice([socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET])
        protocol = choose.choice([0, 0, 0, 6, 17, 132, 136, 262, 1, 58, 115, choose.randrange(256)])
        options = [
            (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode()),
            (socket.SOL_SOCKET, socket.SO_DONTROUTE, 1),
            (socket.SOL_SOCKET, socket.SO_BROADCAST, 1),
            (socket.SOL_SOCKET, socket.SO_MARK, choose.randrange(1 << 31)),
            (socket.SOL_SOCKET, socket.SO_PRIORITY, choose.randrange(7)),
            # The interface for what names none: IP_UNICAST_IF, IPV6_UNICAST_IF.
            (level, 76 if six else 50, struct.pack('!I', index)),
            (level, socket.IPV6_MULTICAST_IF, index) if six else (level, socket.IP_MULTICAST_IF, struct.pack('@iii', 0, 0, index)),
            (level, choose.randrange(80), choose.randrange(256)),
        ]
        control = struct.pack('@16sI', bytes(16), index) if six else struct.pack('@III', index, 0, 0)
        flags = choose.choice([0, socket.MSG_OOB, socket.MSG_MORE, socket.MSG_CONFIRM, socket.MSG_DONTROUTE, socket.MSG_FASTOPEN])
        ancillary = choose.choice([[], [(level, socket.IPV6_PKTINFO if six else IP_PKTINFO, control)]])

        def attempt():
            with socket.socket(family_of(target), kind, protocol) as client:
                client.setblocking(False)
                for option in choose.sample(options, choose.randrange(4)):
                    try:
                        client.setsockopt(*option)
                    except OSError:
                        pass
                name = resolved(target, choose.choice([53, 443, 5555, 15053]))
                if choose.random() < 0.5:
                    try:
                        client.connect(name)
                    except BlockingIOError:
                        select.select([], [client], [], 0.005)
                client.sendmsg([b'storm'], ancillary, flags, name)
            return 'sent'

        ending = guarded(attempt)
        endings[ending] = endings.get(ending, 0) + 1
    return endings


def burst(address, ports):
    """How datagrams to many ports ended, as counts."""
    endings = {}
    for port in range(*ports):
        ending = guarded(datagram, address, port, answered=False)
        endings[ending] = endings.get(ending, 0) + 1
    return endings


def leave_translations(address, ports):
    """Diverted queries from many ports of ours, each answered, whose translations outlive them."""
    for port in range(*ports):
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.bind(('', port))
            client.sendto(b'x', (address, 53))
            said(client)
    return 'left'


def guarded(function, *args, **options):
    try:
        return function(*args, **options)
    except TimeoutError:
        return 'timeout'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


REQUESTS = {function.__name__: function for function in [
    stream, connections, open_stream, squat, datagram, ping, raw, own_service, own_datagrams, listen, accept, say, state, close, bulk, join, storm, burst, leave_translations,
]}

print('ready', flush=True)
for line in sys.stdin:
    name, *args = json.loads(line)
    options = args.pop() if args and isinstance(args[-1], dict) else {}
    # Who expects nothing waits less.
    TIMEOUT = options.pop('timeout', 5.0)
    print(json.dumps(guarded(REQUESTS[name], *args, **options)), flush=True)

"""What lies outside of a fenced network namespace: servers, clients on request, and an ear on the wire.

Serves the addresses that it is given. Reads one JSON request a line, answers with one JSON line. Ends with its standard input.
"""
import errno, json, os, socket, sys, threading

PORTS = [53, 443, 5555]
# Reads nothing before it is told to.
BULK_PORT = 8443
heard, bulk, kept = [], [], []


def opened(kind, address, port):
    server = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port == BULK_PORT:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    server.bind((address, port))
    if kind == socket.SOCK_STREAM:
        server.listen(64)
    return server


def serve_streams(server, port):
    while True:
        client, _ = server.accept()
        if port == BULK_PORT:
            bulk.append(client)
        else:
            threading.Thread(target=greet, args=(client,), daemon=True).start()


def greet(client):
    try:
        client.sendall(b'origin\n')
        while client.recv(65536):
            pass
    except OSError:
        pass
    client.close()


def serve_datagrams(server):
    while True:
        _, sender = server.recvfrom(65536)
        server.sendto(b'origin\n', sender)


def hear(ear):
    """Every IP packet that comes in by the wire: version, protocol, destination, payload."""
    while True:
        packet, (_, kind, direction, _, _) = ear.recvfrom(65536)
        if direction == socket.PACKET_OUTGOING:
            continue
        if kind == 0x0800:
            head = (packet[0] & 15) * 4
            heard.append([4, packet[9], socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[head:].hex()])
        elif kind == 0x86DD:
            heard.append([6, packet[6], socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[40:].hex()])


def dial(kind, address, port, timeout):
    client = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
    client.settimeout(timeout)
    client.connect((address, port))
    return client


def connect(address, port, timeout=1.0):
    with dial(socket.SOCK_STREAM, address, port, timeout) as client:
        return client.recv(100).decode().strip() or 'closed'


def datagram(address, port, timeout=0.5):
    with dial(socket.SOCK_DGRAM, address, port, timeout) as client:
        client.send(b'?')
        return client.recv(100).decode().strip()


def keep(address, port):
    """A connection into the pod that stays open until `kept` reads what came by it."""
    kept.append(dial(socket.SOCK_STREAM, address, port, 2.0))
    return 'connected'


def read_kept(timeout=1.0):
    with kept.pop() as client:
        client.settimeout(timeout)
        return client.recv(100).decode() or 'closed'


def take_heard():
    found = heard[:]
    del heard[: len(found)]
    return found


def drain():
    """Reads what the sender of a bulk connection has left, to its end."""
    with bulk.pop() as client:
        client.settimeout(10)
        total = 0
        while data := client.recv(65536):
            total += len(data)
        return total


REQUESTS = {'connect': connect, 'datagram': datagram, 'keep': keep, 'kept': read_kept, 'heard': take_heard, 'drain': drain}

print('started', flush=True)
sys.stdin.readline()
ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
ear.bind(('out0', 3))
threading.Thread(target=hear, args=(ear,), daemon=True).start()
for address in sys.argv[1:]:
    for port in PORTS + [BULK_PORT]:
        server = opened(socket.SOCK_STREAM, address, port)
        threading.Thread(target=serve_streams, args=(server, port), daemon=True).start()
    for port in PORTS:
        threading.Thread(target=serve_datagrams, args=(opened(socket.SOCK_DGRAM, address, port),), daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    name, *args = json.loads(line)
    try:
        result = REQUESTS[name](*args)
    except TimeoutError:
        result = 'timeout'
    except OSError as error:
        result = errno.errorcode.get(error.errno, str(error))
    print(json.dumps(result), flush=True)
os._exit(0)

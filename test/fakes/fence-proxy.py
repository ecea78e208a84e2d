"""The network role of a fenced namespace, as far as its sockets go: tells clients who it is, and where they were going."""
import os, socket, struct, sys, threading

SO_ORIGINAL_DST = 80
# Read to the end, and counted on standard output.
BULK_PORT = 8443


def opened(family, kind, address, port):
    server = socket.socket(family, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    if kind == socket.SOCK_STREAM:
        server.listen(256)
    return server


def original(client, family):
    if family == socket.AF_INET6:
        _, port, _, address, _ = struct.unpack('!HHI16sI', client.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28))
    else:
        _, port, address, _ = struct.unpack('!HH4s8s', client.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16))
    return f'{socket.inet_ntop(family, address)} {port}'


def count(client):
    """Everything to the end, as a client sees it that has closed long ago."""
    with client:
        total = 0
        while data := client.recv(65536):
            total += len(data)
        print(total, flush=True)


def serve_streams(server, family, name):
    while True:
        client, _ = server.accept()
        if name == 'transparent' and original(client, family).endswith(f' {BULK_PORT}'):
            threading.Thread(target=count, args=(client,), daemon=True).start()
            continue
        try:
            client.sendall(f'{name} {original(client, family)}\n'.encode() if name == 'transparent' else f'{name}\n'.encode())
        except OSError:
            pass
        client.close()


def serve_datagrams(server):
    while True:
        _, sender = server.recvfrom(65536)
        server.sendto(b'resolver\n', sender)


for family, loopback, wildcard in [(socket.AF_INET, '127.0.0.1', '0.0.0.0'), (socket.AF_INET6, '::1', '::')]:
    for name, address, port in [
        ('proxy', loopback, 3128),
        ('transparent', loopback, 15001),
        ('resolver', loopback, 15053),
        ('health', wildcard, 9000),
        ('private', wildcard, 9001),
    ]:
        server = opened(family, socket.SOCK_STREAM, address, port)
        threading.Thread(target=serve_streams, args=(server, family, name), daemon=True).start()
    server = opened(family, socket.SOCK_DGRAM, loopback, 15053)
    threading.Thread(target=serve_datagrams, args=(server,), daemon=True).start()
print('ready', flush=True)
sys.stdin.read()
os._exit(0)

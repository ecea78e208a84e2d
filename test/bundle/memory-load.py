"""What an agent does that uses its network much: opens many connections, asks on each, and keeps so many of them at once."""
import asyncio
import ssl
import sys

PROXY = ("127.0.0.1", 3128)
kind, host = sys.argv[1], sys.argv[2]
count, at_once = int(sys.argv[3]), int(sys.argv[4])
context = ssl.create_default_context()


async def tunnel(port):
    reader, writer = await asyncio.open_connection(*PROXY)
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    return reader, writer


async def inspected(number):
    reader, writer = await tunnel(8443)
    await writer.start_tls(context, server_hostname=host)
    head = f"POST /public/{number} HTTP/1.1\r\nHost: {host}:8443\r\nContent-Length: 4096\r\n\r\n"
    writer.write(head.encode() + b"x" * 4096)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in answer.split(b"\r\n")[0], answer
    return writer


async def raw(_number):
    reader, writer = await tunnel(2525)
    assert (await reader.readline()).startswith(b"220 ")
    writer.write(b"x" * 65536)
    await reader.readexactly(65536)
    return writer


async def main():
    done = 0
    for start in range(0, count, at_once):
        numbers = range(start, min(start + at_once, count))
        writers = await asyncio.gather(*({"inspected": inspected, "raw": raw}[kind](number) for number in numbers))
        done += len(writers)
        for writer in writers:
            writer.close()
    print(f"{done} {kind}", flush=True)


asyncio.run(main())

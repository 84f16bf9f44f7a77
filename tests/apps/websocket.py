"""WebSockets by Debian's python3-websockets: `serve`, `talk URL`, `wait URL`. Each prints what it saw as lines of JSON."""

import asyncio
import json
import random
import sys

import websockets

SIZES = [0, 1, 125, 126, 127, 4096, 65535, 65536, 65537, 1 << 20]
TALKERS = 4


def say(**what):
    print(json.dumps(what), flush=True)


async def echo(socket):
    """Sends back what comes; `ping` makes it ping, `bye CODE` makes it close."""
    try:
        async for message in socket:
            if isinstance(message, str) and message.startswith("bye "):
                await socket.close(int(message[4:]), "as asked")
            elif message == "ping":
                await (await socket.ping(b"from the server"))
                await socket.send("ponged")
            else:
                await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
    say(code=socket.close_code, reason=socket.close_reason)


async def serve():
    server = await websockets.serve(echo, "127.0.0.1", 0, max_size=None)
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.Future()


def same(sent, got):
    if type(sent) is not type(got) or sent != got:
        raise SystemExit(f"{len(sent)} of {type(sent)} sent, {len(got)} of {type(got)} came back")


async def talk(url, seed):
    noise = random.Random(seed)
    compression = "deflate" if seed % 2 else None
    async with websockets.connect(url, max_size=None, compression=compression) as socket:
        messages = [noise.randbytes(size) for size in SIZES]
        messages += [noise.randbytes(size // 2).hex() for size in SIZES]
        # One at a time, then all before the first one is back.
        for message in messages:
            await socket.send(message)
            same(message, await socket.recv())

        async def send():
            for message in messages:
                await socket.send(message)

        sending = asyncio.ensure_future(send())
        for message in messages:
            same(message, await socket.recv())
        await sending
        # In fragments: one message all the same.
        whole = noise.randbytes(300_000)
        await socket.send([whole[at : at + 1000] for at in range(0, len(whole), 1000)])
        same(whole, await socket.recv())

        await (await socket.ping(b"from the client"))
        await socket.send("ping")
        same("ponged", await socket.recv())

        if seed < 2:
            await socket.close(3000 + seed, "done")
        else:
            await socket.send(f"bye {4000 + seed}")
            await socket.wait_closed()
        say(code=socket.close_code, reason=socket.close_reason, echoed=2 * len(messages) + 1)


async def talk_all(url):
    await asyncio.gather(*(talk(url, seed) for seed in range(TALKERS)))


async def wait(url):
    async with websockets.connect(url) as socket:
        say(reason="open")
        await socket.wait_closed()
        say(code=socket.close_code, reason=socket.close_reason)


match sys.argv[1:]:
    case ["serve"]:
        asyncio.run(serve())
    case ["talk", url]:
        asyncio.run(talk_all(url))
    case ["wait", url]:
        asyncio.run(wait(url))

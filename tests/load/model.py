"""Owns a model server in a process of its own: streams that begin at once and go on when it is told to, and plain answers.
Knows nothing of Ember."""

import asyncio
import json
import threading

from beside import Beside
from server import many_descriptors, size

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"
STREAM = HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
PLAIN = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
# No more than come at once: Ember keeps a descriptor for each.
IN_FLIGHT_MAX = size(1000, 9000)
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'


class Model:
    """Serves the model `m`. A request's stream is named by the member `user`; it has `events` events, `gap` seconds apart, of
    which the first comes at once and the others once `go` was called. With `padding` bytes more in each."""

    def __init__(self, events=1, gap=0.0, padding=0):
        self.beside = Beside(serve, events, gap, padding)
        self.url = f"http://127.0.0.1:{self.beside.hear()}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.beside.end()

    def go(self):
        self.beside.tell("go")

    def section(self, more=""):
        return (f'[[upstream]]\nname = "m"\nurl = "{self.url}"\nmodels = ["m"]\nin_flight_max = {IN_FLIGHT_MAX}\n'
                f'idle_timeout = "30m"\n{more}\n')


def serve(ear, *script):
    many_descriptors()
    asyncio.run(Script(ear, *script).serve())


class Script:
    def __init__(self, ear, events, gap, padding):
        self.ear, self.events, self.gap, self.padding = ear, events, gap, "x" * padding

    async def serve(self):
        self.goes = asyncio.Event()
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=4096)
        self.ear.send(server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        threading.Thread(target=self.wait_for_word, args=(loop,), daemon=True).start()
        await asyncio.Event().wait()

    def wait_for_word(self, loop):
        try:
            self.ear.recv()
            loop.call_soon_threadsafe(self.goes.set)
        except EOFError:
            pass

    async def connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().split(b"content-length: ", 1)
                left = int(length[1].split(b"\r\n", 1)[0]) if len(length) > 1 else 0
                await self.answer(head, reader, left, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head, reader, left, writer):
        start = await reader.readexactly(min(left, 4096))
        left -= len(start)
        while left:
            left -= len(await reader.readexactly(min(left, 1 << 16)))
        if head.startswith(b"GET"):
            return self.whole(writer, MODELS)
        if b'"stream":true' not in start:
            return self.whole(writer, PLAIN)
        return await self.stream(json.loads(start)["user"], writer)

    def whole(self, writer, text):
        writer.write(HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(text) + text)

    async def stream(self, name, writer):
        writer.write(STREAM)
        for number in range(1, self.events + 1):
            self.part(writer, json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
                {"index": 0, "delta": {"content": f"{name}/{number}"}, "finish_reason": None}], "padding": self.padding},
                separators=(",", ":")))
            await writer.drain()
            await self.goes.wait()
            await asyncio.sleep(self.gap)
        self.part(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")

    def part(self, writer, text):
        event = f"data: {text}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))

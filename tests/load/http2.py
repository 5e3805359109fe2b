"""Owns the proof that a flood of HTTP/2's own means is ended or borne, and that others are served meanwhile (law 12)."""

import re
import select
import socket
import struct

from beside import Beside
from frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, OWN_ENTRY, PING, PRIORITY, RESET, SETTINGS, WINDOW,
                    WINDOW_SIZE, frame, greeting, head, header, setting)
from probe import Probe, compared
from server import MB, Ember, figure, size, until

CONNECTIONS = size(1, 8)
SECONDS = size(0.5, 3.0)
MEMORY_MAX = size(60, 100) * MB
PIECE = 400
STREAM_MAX = (1 << 31) - 1
# Of a stream whose window overflowed (FLOW_CONTROL_ERROR). One that was refused is reset as well, with another code.
RESET_OF_WINDOW = re.compile(re.escape(frame(RESET, payload=bytes(4))[:5]) + rb".{4}\x00\x00\x00\x03", re.DOTALL)


class Flood:
    """What a client says first, and then again and again as long as it is there. A stream can be opened once: what opens them
    is made anew for each piece."""

    def __init__(self, first, part=None, opens=None, has_resets=False):
        self.first, self.part, self.opens, self.has_resets = first, part, opens, has_resets

    def parts(self):
        if self.opens is None:
            while True:
                yield self.part
        for stream in range(3, STREAM_MAX - 2 * PIECE, 2 * PIECE):
            yield b"".join(self.opens(stream + 2 * number) for number in range(PIECE))


def floods(key):
    hello, asks = greeting(), head("POST", "/v1/chat/completions", key)
    get = head("GET", "/v1/models", key)
    opened = hello + frame(HEADERS, END_HEADERS, 1, asks)
    unread = greeting(setting(WINDOW_SIZE, 0))
    endless = hello + frame(HEADERS, END_STREAM, 1, get)
    large = hello + frame(HEADERS, END_HEADERS | END_STREAM, 1, get + header("x", "v" * 3900, kept=True))
    reset = (8).to_bytes(4, "big")

    def ask(block):
        return lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block)

    def ask_and_reset(block):
        return lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block) + frame(RESET, 0, stream, reset)

    def reset_unasked(stream):
        return frame(HEADERS, END_HEADERS, stream, asks) + frame(WINDOW, 0, stream, bytes([127, 255, 255, 255]))

    many = b"".join(header(f"x-{number}", "v" * 100) for number in range(100))
    return {
        "requests taken back, without a key": Flood(hello, opens=ask_and_reset(head("GET", "/v1/models"))),
        "requests taken back, with a key": Flood(hello, opens=ask_and_reset(get)),
        "streams that the server has to reset": Flood(hello, opens=reset_unasked, has_resets=True),
        "CONTINUATION": Flood(endless, frame(CONTINUATION, 0, 1, many)),
        "empty CONTINUATION": Flood(endless, frame(CONTINUATION, 0, 1) * PIECE),
        "SETTINGS": Flood(hello, frame(SETTINGS, payload=setting(WINDOW_SIZE, 1000)) * PIECE),
        "PING": Flood(hello, frame(PING, payload=b"12345678") * PIECE),
        "PRIORITY": Flood(hello, frame(PRIORITY, 0, 1, bytes(5)) * PIECE),
        "WINDOW_UPDATE": Flood(hello, frame(WINDOW, 0, 0, (1).to_bytes(4, "big")) * PIECE),
        "empty DATA": Flood(opened, frame(DATA, 0, 1) * PIECE),
        "frames that nobody knows": Flood(hello, frame(0xEE, 0, 1, b"x" * 100) * PIECE),
        "heads that are small and become large": Flood(large, opens=ask(bytes([OWN_ENTRY]) * 16_000)),
        "answers that nobody reads": Flood(unread, opens=ask(get)),
    }


class Client:
    """Pours, takes what comes, and begins anew when it was ended."""

    def __init__(self, address, flood):
        self.address, self.flood, self.ended, self.resets = address, flood, 0, 0
        self.begin()

    def begin(self):
        self.parts, self.left = self.flood.parts(), self.flood.first
        self.wire = socket.create_connection(self.address, 60)
        self.wire.setblocking(False)

    def fileno(self):
        return self.wire.fileno()

    def read(self):
        self.guarded(self.receive)

    def receive(self):
        if came := self.wire.recv(1 << 16):
            self.resets += len(RESET_OF_WINDOW.findall(came))
        else:
            self.again()

    def write(self):
        self.left = self.left or next(self.parts)
        self.guarded(self.send)

    def send(self):
        self.left = self.left[self.wire.send(self.left):]

    def guarded(self, act):
        try:
            act()
        except BlockingIOError:
            pass
        except OSError:
            self.again()

    def again(self):
        self.ended += 1
        # Nothing of it is to wait in the kernel for being sent.
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wire.close()
        self.begin()


def pour(ear, address, flood):
    clients = [Client(address, flood) for _ in range(CONNECTIONS)]
    while not ear.poll():
        readable, writable, _ = select.select(clients, clients, [], 1)
        for client in readable:
            client.read()
        for client in writable:
            client.write()
    assert not flood.has_resets or any(client.resets for client in clients), "no stream was reset"
    ear.send(sum(client.ended for client in clients))


def http2():
    with Ember() as ember:
        kinds = floods(ember.key)
    # One by one where there is time for it.
    names, at_once = list(kinds), size(4, 1)
    groups = [names[first:first + at_once] for first in range(0, len(names), at_once)]
    return [fault for group in groups for fault in flooded(group)]


def flooded(names):
    with Ember() as ember, Probe(ember) as probe:
        kinds, running, ended, before = floods(ember.key), [], [], ember.memory()
        others = ember.connections()

        def begin():
            running.extend(Beside(pour, ember.address, kinds[name]) for name in names)

        def end():
            for beside in running:
                beside.tell("enough")
                ended.append(beside.hear())
                beside.end()
            running.clear()
            until(lambda: ember.connections() <= others + 2, "what flooded has gone", 60)

        slowed = compared(probe, begin, end, SECONDS)
        took = ember.memory("VmHWM") - before
        ember.ended()
    name = names[0] if len(names) == 1 else ", ".join(names)
    faults = slowed.shown(f"HTTP/2 flood of {name}")
    figure(f"HTTP/2 flood of {name}, memory", f"{took / MB:.1f} MB", f"be under {MEMORY_MAX // MB} MB")
    figure(f"HTTP/2 flood of {name}, connections that were ended", sum(ended))
    return faults + ([f"{name}: {took / MB:.1f} MB"] if took >= MEMORY_MAX else [])

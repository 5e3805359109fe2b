"""Owns clients by the thousand, all in one process: slow ones, idle ones, readers of streams. Knows nothing of what is
asserted about them."""

import re
import selectors
import socket
import time

from server import answer, many_descriptors

END = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
EVENT = re.compile(rb'"content":"(\d+)/(\d+)"')


def slow(ear, address, count, first, drip, every, buffer_bytes=0):
    """Each says `first`, then `drip` again and again, and reads nothing. Told anything, says how many are still there."""
    many_descriptors()
    wires = []
    for _ in range(count):
        wire = socket.socket()
        if buffer_bytes:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        wire.connect(address)
        wire.sendall(first)
        wire.setblocking(False)
        wires.append(wire)
    ear.send(count)
    while True:
        if ear.poll(every):
            ear.recv()
            ear.send(len(wires))
        wires = [wire for wire in wires if takes(wire, drip)]


def takes(wire, drip):
    """Whether the server still takes something on it."""
    try:
        if drip:
            wire.send(drip)
    except BlockingIOError:
        pass
    except OSError:
        wire.close()
        return False
    return True


def idle(ear, address, count, request):
    """Each has asked once and stays. Told anything, each asks again and it says how many were answered."""
    many_descriptors()
    wires = [socket.create_connection(address, 60) for _ in range(count)]
    while True:
        answered = 0
        for wire in wires:
            try:
                wire.sendall(request)
                answered += answer(wire)[0] == 200
            except (OSError, AssertionError):
                pass
        ear.send(answered)
        ear.recv()


class Reader:
    """One stream: number `name`, whose events are `name/1`, `name/2` and so on."""

    def __init__(self, address, name, request):
        self.name, self.said, self.is_over = name, b"", False
        self.wire = socket.create_connection(address, 60)
        self.wire.sendall(request)
        self.wire.setblocking(False)

    def has_begun(self):
        return EVENT.search(self.said) is not None

    def read(self):
        try:
            part = self.wire.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self.said += part
        self.is_over = not part or self.said.endswith(LAST_CHUNK)

    def is_whole(self, events):
        """Every event came, once, in its place, and so did the end."""
        came = [(int(name), int(number)) for name, number in EVENT.findall(self.said)]
        return (came == [(self.name, number) for number in range(1, events + 1)]
                and self.said.count(END) == 1 and self.said.endswith(LAST_CHUNK))


def readers(ear, address, requests, events, patience):
    """A stream for each request. Says how many have begun; then how many came whole, and the longest that all took."""
    many_descriptors()
    watch, streams = selectors.DefaultSelector(), []
    for name, request in enumerate(requests):
        stream = Reader(address, name, request)
        watch.register(stream.wire, selectors.EVENT_READ, stream)
        streams.append(stream)
        # What comes meanwhile is not left lying.
        turn(watch, 0)
    wait(watch, lambda: all(stream.has_begun() or stream.is_over for stream in streams), patience)
    ear.send(sum(stream.has_begun() and not stream.is_over for stream in streams))
    ear.recv()
    wait(watch, lambda: not watch.get_map(), patience)
    ear.send(sum(stream.is_whole(events) for stream in streams))


def turn(watch, seconds):
    for key, _ in watch.select(seconds):
        key.data.read()
        if key.data.is_over:
            watch.unregister(key.fileobj)
            key.fileobj.close()


def wait(watch, holds, patience):
    end = time.monotonic() + patience
    while not holds() and time.monotonic() < end:
        spell = time.monotonic() + 0.2
        while time.monotonic() < spell and watch.get_map():
            turn(watch, 0.2)

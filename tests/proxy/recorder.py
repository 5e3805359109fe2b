"""Owns a model server that takes requests by their exact bytes and keeps them. Knows nothing of Ember: it says what reached
it, and is as strict as RFC 9112 allows, so that nothing reaches it that can be read in two ways."""

import json
import re
import socket
from typing import NamedTuple

from listener import Listener

MARK = re.compile(rb"mark-[0-9a-z-]+")
LINE = re.compile(rb"(GET|POST) (/[!-~]*) HTTP/1\.1")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)")
MODELS = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()


class Seen(NamedTuple):
    """One request that came whole."""

    path: str
    headers: dict[str, str]
    body: bytes
    mark: str


class Fault(Exception):
    """What came is no request that has one meaning."""


class Reader:
    """The bytes of one connection, in the order in which they came."""

    def __init__(self, connection: socket.socket):
        self.connection, self.left = connection, b""

    def more(self) -> bool:
        piece = self.connection.recv(1 << 16)
        self.left += piece
        return bool(piece)

    def head(self) -> bytes | None:
        """Without its empty line; none at the end of the connection."""
        while b"\r\n\r\n" not in self.left:
            if not self.more():
                return None
        head, _, self.left = self.left.partition(b"\r\n\r\n")
        return head

    def body(self, length: int) -> bytes | None:
        while len(self.left) < length:
            if not self.more():
                return None
        body, self.left = self.left[:length], self.left[length:]
        return body


def parsed(head: bytes) -> tuple[str, str, dict[str, str], int]:
    """Method, path, headers, length of the body."""
    first, *lines = head.split(b"\r\n")
    found = LINE.fullmatch(first)
    pairs = [HEADER.fullmatch(line) for line in lines]
    if not found or not all(pairs):
        raise Fault(head)
    headers = {}
    for name, value in (pair.groups() for pair in pairs):
        if headers.setdefault(name.decode().lower(), value.decode("latin-1")) != value.decode("latin-1"):
            raise Fault(head)
    length = headers.get("content-length", "")
    names = [pair[1].lower() for pair in pairs]
    if names.count(b"content-length") > 1 or b"transfer-encoding" in names or not re.fullmatch("[0-9]{0,9}", length):
        raise Fault(head)
    if found[1] == b"POST" and not length:
        raise Fault(head)
    return found[1].decode(), found[2].decode(), headers, int(length or 0)


class Recorder(Listener):
    """`seen` are the requests for answers, `lists` counts Ember's own questions for the list of models, `faults` what was
    neither. Each answer names the mark of its request."""

    def __init__(self):
        self.seen: list[Seen] = []
        self.marks: set[str] = set()
        self.lists, self.faults = 0, []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        with connection:
            try:
                while (head := reader.head()) is not None:
                    method, path, headers, length = parsed(head)
                    body = reader.body(length)
                    if body is None:
                        return
                    connection.sendall(self.answer(method, path, headers, body))
                if reader.left:
                    raise Fault(reader.left)
            except Fault as fault:
                self.faults.append(fault.args[0])
            except OSError:
                pass

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if (method, path, body) == ("GET", "/v1/models", b""):
            self.lists += 1
            return whole(MODELS)
        marks = MARK.findall(body)
        if method != "POST" or len(marks) != 1:
            raise Fault(f"{method} {path} {headers}".encode() + body)
        seen = Seen(path, headers, body, marks[0].decode())
        self.marks.add(seen.mark)
        self.seen.append(seen)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        message = {"role": "assistant", "content": f"saw {seen.mark}"}
        said = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                           "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        return chunked(said) if len(self.seen) % 2 else whole(said)

    def end(self) -> None:
        self.listener.close()


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes) -> bytes:
    return (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

"""Owns the caller's side of a connection, byte by byte: what is sent in which pieces, and what comes back. Knows nothing of
what should come."""

import itertools
import json
import random
import re
import socket
import ssl
from typing import NamedTuple

from proxies import NAME

# How long nothing comes before a caller takes it that nothing will, and how long it goes on waiting for what must come.
QUIET, PATIENCE = 0.5, 20.0
SERIAL = itertools.count(1)
# The marks of answers: Ember's heads have the request's own, the recorder's bodies that of what it was asked.
ANSWER = re.compile(rb"\r\nx-request-id: (mark-[0-9a-z-]+)\r\n|saw (mark-[0-9a-z-]+)", re.I)
NAMES = re.compile(rb"(?:transfer-encoding|content-length|content-type|authorization|host|connection|expect|upgrade)(?=:)", re.I)


class Front(NamedTuple):
    """Where a caller connects to; without `trust` it speaks no TLS."""

    kind: str
    port: int
    trust: ssl.SSLContext | None

    def connect(self, protocol: str = "http/1.1") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.trust is None:
            return connection
        context = self.trust if protocol == "http/1.1" else h2_context(self.trust)
        return context.wrap_socket(connection, server_hostname=NAME)


def h2_context(trust: ssl.SSLContext) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(der) for der in trust.get_ca_certs(True)))
    context.set_alpn_protocols(["h2"])
    return context


class Request(NamedTuple):
    """A request for an answer, and the mark that it, its answer and nothing else has."""

    mark: str
    lines: bytes
    body: bytes

    def text(self, more: int = 0) -> bytes:
        """All of it, with a length that is so much too large."""
        return (b"POST /v1/chat/completions HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (self.lines, len(self.body) + more, self.body))


def request(kind: str, key: str, host: str = NAME) -> Request:
    mark = f"mark-{next(SERIAL)}-{kind}"
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": mark}]}).encode()
    return Request(mark, f"Host: {host}\r\n{bearer}X-Request-Id: {mark}\r\n".encode(), body)


def varied(dice: random.Random, text: bytes) -> bytes:
    """The same with other letter case in the names of headers: no length changes."""
    return NAMES.sub(lambda name: bytes(dice.choice((byte, byte ^ 0x20)) if chr(byte).isalpha() else byte for byte in name[0]), text)


def pieces(dice: random.Random, text: bytes, joint: int) -> list[bytes]:
    """Cut in up to four places, often just before or after the end of a line, and at the joint of two requests if it has one:
    what comes when the first was answered is another matter than what lies there when it is."""
    ends = [at + turn for at in (found.start() for found in re.finditer(rb"\r|\n", text[:4000])) for turn in (0, 1)]
    cuts = {dice.choice(ends) if ends and dice.random() < 0.6 else dice.randrange(len(text)) for _ in range(dice.randrange(4))}
    if joint > 0 and dice.random() < 0.3:
        cuts.add(joint)
    places = [0, *sorted(cuts), len(text)]
    return [text[start:end] for start, end in zip(places, places[1:]) if start < end]


class Talk(NamedTuple):
    """What came back on one connection."""

    received: bytes
    # The marks of requests that the recorder saw and whose answers came, and of all that Ember answered.
    answered: list[str]
    judged: list[str]
    # The caller waited no longer, as nothing came: what the recorder sees from then on cannot be answered to it.
    has_left: bool = False

    def is_in_step(self) -> bool:
        """Each answer of the recorder stands in the answer of Ember to that very request."""
        last = ""
        for head, body in ANSWER.findall(self.received):
            if body and body.decode() != last:
                return False
            last = head.decode() or last
        return True


def talk_of(received: bytes) -> Talk:
    found = ANSWER.findall(received)
    return Talk(received, [body.decode() for _, body in found if body], [head.decode() for head, _ in found if head])


def converse(connection: socket.socket, parts: list[bytes], pause: float, seen) -> Talk:
    """Sends the parts, and reads till the end, or till nothing comes any more and all that was `seen` is answered."""
    received, waited, has_left = b"", 0.0, False
    with connection:
        try:
            for part in parts:
                connection.sendall(part)
                if pause and part is not parts[-1]:
                    received += read_for(connection, pause)
        except OSError:
            pass
        while not received.endswith(END) and waited < PATIENCE:
            piece = read_for(connection, QUIET)
            received += piece
            waited = 0.0 if piece else waited + QUIET
            if not piece and seen() <= set(talk_of(received).answered):
                has_left = True
                break
    return talk_of(received.replace(END, b""))._replace(has_left=has_left)


# Nobody sends that: the other side has ended the connection.
END = b"\x00\xffended\xff\x00"


def read_for(connection: socket.socket, seconds: float) -> bytes:
    connection.settimeout(seconds)
    try:
        return connection.recv(1 << 16) or END
    except TimeoutError:
        return b""
    except OSError:
        return END


class Neighbour:
    """A caller on a connection that stays: the one whom a smuggled request would harm."""

    def __init__(self, front: Front):
        self.front, self.connection = front, None

    def ask(self, asked: Request) -> bytes:
        """The answer up to the end of its body."""
        if self.connection is None:
            self.connection = self.front.connect()
        self.connection.settimeout(PATIENCE)
        answer = b""
        try:
            self.connection.sendall(asked.text())
            while not is_whole(answer):
                piece = self.connection.recv(1 << 16)
                if not piece:
                    break
                answer += piece
        except OSError as error:
            answer += repr(error).encode()
        if not is_whole(answer) or b"connection: close" in answer.lower():
            self.end()
        return answer

    def end(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.I)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def trusting(authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))

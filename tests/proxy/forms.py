"""Owns the forms of request smuggling: bytes of a request that two parsers may see the end of in different places, and of
another hidden where only one of them would look. Knows nothing of who is asked, or what should come of it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

LAST = b"0\r\n\r\n"
JSON = b"Content-Type: application/json\r\n"


class Outer(NamedTuple):
    """The request in whose bytes another hides: the lines that say where to and from whom, and a body that is whole."""

    lines: bytes
    body: bytes

    def ask(self, more: bytes, rest: bytes, first: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
        return first + b"\r\n" + self.lines + JSON + more + b"\r\n" + rest


class Form(NamedTuple):
    """`is_apart`: RFC 9112 leaves no doubt that the hidden request begins just where the outer one ends, even if that is refused,
    and no reason to end the connection between them."""

    name: str
    build: Callable[[Outer, bytes], bytes]
    is_apart: bool = False


def length(value: int) -> bytes:
    return b"Content-Length: %d\r\n" % value


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = b"Transfer-Encoding: chunked\r\n"

ENCODINGS = [
    b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"TRANSFER-ENCODING: CHUNKED", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx", b"Transfer-Encoding:  chunked", b"Transfer-Encoding: chunked ", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked\t", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \x00chunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: chun\x00ked", b"Transfer-Encoding: \xa0chunked", b"Transfer-Encoding: \x85chunked",
    b"Transfer-Encoding: chunk\xc4\x85d", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding:", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:\r\n\tchunked", b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding: chunked\r\n , identity", b"X-A: a\r\n Transfer-Encoding: chunked", b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\x0b: chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding\n: chunked",
    b"Transfer-Encoding\x00: chunked", b"Transfer Encoding: chunked", b"Transfer_Encoding: chunked", b"Transfer-Encoding = chunked",
    b"Transfer-Encoding chunked", b"X-A: a\nTransfer-Encoding: chunked", b"X-A: a\rTransfer-Encoding: chunked",
    b"X-A: a\r\r\nTransfer-Encoding: chunked", b"\rTransfer-Encoding: chunked", b"X-A: a\x00\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding", b"Transfer-Encoding: chunked\rX: a", b":Transfer-Encoding: chunked",
]


def encodings() -> Iterator[Form]:
    """CL.TE, TE.CL, and each spelling of the encoding alone and beside a length. With `_` it is a header of another name."""
    for line in (line + b"\r\n" for line in ENCODINGS):
        what = repr(line[:-2])[2:-1]
        yield Form(f"CL.TE {what}", lambda o, h, line=line: o.ask(
            length(len(chunk(o.body) + LAST + h)) + line, chunk(o.body) + LAST + h))
        yield Form(f"TE.CL {what}", lambda o, h, line=line: o.ask(
            line + length(len(b"%x\r\n" % len(h))), chunk(h) + LAST), b"_" in line)
        yield Form(f"length of the body beside {what}", lambda o, h, line=line: o.ask(
            length(len(o.body)) + line, o.body + h), b"_" in line)
        yield Form(f"alone {what}", lambda o, h, line=line: o.ask(line, chunk(o.body) + LAST + h))


# `{}` is where the number stands.
LENGTHS = [
    b"Content-Length: +{}", b"Content-Length: -{}", b"Content-Length: {} ", b"Content-Length:\t{}", b"Content-Length: 00{}",
    b"Content-Length: {}, {}", b"Content-Length: {}, 0", b"Content-Length: 0, {}", b"Content-Length: {},", b"Content-Length: {} 0",
    b"Content-Length: 0x{}", b"Content-Length: {}.0", b"Content-Length: {}e0", b"Content-Length: {};", b"Content-Length: \"{}\"",
    b"Content-Length: {}\x0b", b"Content-Length: \x0b{}", b"Content-Length: {}\x00", b"Content-Length: \x00{}",
    b"Content-Length: {}a", b"Content-Length:", b"Content-Length: \xb2", b"Content-Length : {}", b"Content-Length\t: {}",
    b"Content-Length\x00: {}", b"Content_Length: {}", b"Content Length: {}", b" Content-Length: {}", b"\tContent-Length: {}",
    b"Content-Length:\r\n {}", b"Content-Length: 1\r\n {}", b"Content-Length\r\n: {}", b"X-A: a\nContent-Length: {}",
    b"X-A: a\rContent-Length: {}", b"Content-Length: {}\rX: a", b"Content-Length: {}\nX: a", b"X-A: a\r\n Content-Length: {}",
    b"Content-Length: {}\r\nConnection: content-length", b"Content-Length: 18446744073709551616",
    b"Content-Length: 4294967296", b"Content-Length: {}\r\nContent-Length: {}", b"Content-Length: {}\r\nContent-Length: 0",
    b"Content-Length: 0\r\nContent-Length: {}", b"Content-Length: {}\r\ncontent-length: 1", b"Content-Length: {}\r\nContent-Length:",
]


def lengths() -> Iterator[Form]:
    """Each spelling with the number that takes the hidden request into the body, alone and beside one that does not, and
    the other way round."""

    def filled(line: bytes, value: int) -> bytes:
        return line.replace(b"{}", b"%d" % value) + b"\r\n"

    for line in LENGTHS:
        what = repr(line)[2:-1]
        yield Form(f"all of it, {what}", lambda o, h, line=line: o.ask(filled(line, len(o.body + h)), o.body + h))
        yield Form(f"the body, then all of it, {what}", lambda o, h, line=line: o.ask(
            length(len(o.body)) + filled(line, len(o.body + h)), o.body + h), b"_" in line)
        yield Form(f"all of it, then the body, {what}", lambda o, h, line=line: o.ask(
            filled(line, len(o.body)) + length(len(o.body + h)), o.body + h))


def chunks() -> Iterator[Form]:
    """A body in chunks that end where only some would see it."""

    def form(name: str, rest: Callable[[bytes, bytes, bytes], bytes], is_apart: bool = False) -> Form:
        return Form(f"chunks: {name}", lambda o, h: o.ask(CHUNKED, rest(o.body, b"%x" % len(o.body), h)), is_apart)

    end = b"\r\n" + LAST
    yield form("in order", lambda b, n, h: n + b"\r\n" + b + end + h, True)
    yield form("the hidden request as a chunk", lambda b, n, h: chunk(b) + chunk(h) + LAST)
    yield form("no last one", lambda b, n, h: chunk(b) + h)
    yield form("a size of none", lambda b, n, h: b"\r\n" + b + end + h)
    yield form("a last one without its empty line", lambda b, n, h: chunk(b) + b"0\r\n" + h)
    yield form("an end of bare LF", lambda b, n, h: chunk(b) + b"0\n\n" + h)
    yield form("an end of bare CR", lambda b, n, h: chunk(b) + b"0\r\r" + h)
    yield form("an end of LF after CRLF", lambda b, n, h: chunk(b) + b"0\r\n\n" + h)
    yield form("an end of many zeros", lambda b, n, h: chunk(b) + b"0000\r\n\r\n" + h, True)
    yield form("data without its CRLF", lambda b, n, h: n + b"\r\n" + b + LAST + h)
    yield form("data longer than said", lambda b, n, h: n + b"\r\n" + b + b"xx" + end + h)
    yield form("data with LF behind it", lambda b, n, h: n + b"\r\n" + b + b"\n" + LAST + h)
    yield form("data with CR behind it", lambda b, n, h: n + b"\r\n" + b + b"\r" + LAST + h)
    for size in [b"0x%s", b"0X%s", b"+%s", b"-%s", b" %s", b"%s ", b"%s\t", b"\t%s", b"00000%s", b"%s\x0b", b"\x00%s", b"%s\x00",
                 b"f0000000000000000%s", b"10000000000000000%s", b"100000000%s", b"%sg", b"%s;", b"%s;a", b"%s;a=b", b"%s ; a = b",
                 b"%s;a=\"b\"", b"%s;a=\"\r\n\"", b"%s;\n", b"%s;a\nb", b"%s;a\rb", b"%s;\x00", b"%s,", b"_%s", b"%s_0", b"%s.0",
                 b"%s;" + b"a" * 20_000, b"0" * 20_000 + b"%s"]:
        what = repr(size)[2:-1][:30]
        yield form(f"size {what}", lambda b, n, h, size=size: size.replace(b"%s", n) + b"\r\n" + b + end + h)
        yield form(f"last {what}", lambda b, n, h, size=size: chunk(b) + size.replace(b"%s", b"0") + b"\r\n\r\n" + h)
        yield form(f"size {what} and a hidden chunk", lambda b, n, h, size=size: chunk(b) + size.replace(b"%s", b"%x" % len(h))
                   + b"\r\n" + h + end)
    for line_end in [b"\n", b"\r", b"\n\r", b"\r\r\n"]:
        yield form(f"size ends with {line_end!r}", lambda b, n, h, e=line_end: n + e + b + end + h)
        yield form(f"extension ends with {line_end!r}", lambda b, n, h, e=line_end: n + b";a" + e + b + end + h)
        # The hidden request stands in what one parser takes for an extension.
        yield form(f"hidden behind {line_end!r} in an extension",
                   lambda b, n, h, e=line_end: chunk(b) + b"0;a" + e + e + h + b"\r\n\r\n")
    for trailer in [b"X: a", b"Content-Length: 0", b"Content-Length: 600", b"Transfer-Encoding: chunked", b"Host: b",
                    b"Authorization: Bearer x", b"X: a\nY: b", b"X : a", b" X: a", b"X", b"X: a\x00", b"Trailer: X", b"Connection: close",
                    b"X-Forwarded-For: 1.1.1.1", b"X: " + b"a" * 70_000]:
        yield form(f"trailer {trailer[:30]!r}", lambda b, n, h, t=trailer: chunk(b) + b"0\r\n" + t + b"\r\n\r\n" + h,
                   trailer == b"X: a")
    yield form("hidden as trailers", lambda b, n, h: chunk(b) + b"0\r\n" + h.partition(b"\r\n")[2])


# Headers after which the next request may follow, whatever one thinks of them.
FINE = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", b"Connection: Upgrade\r\nUpgrade: h2c",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Upgrade: TLS/1.0", b"Connection: keep-alive", b"Connection: authorization", b"Connection: host", b"Connection: content-length",
    b"Connection: transfer-encoding", b"Connection: content-type", b"Proxy-Connection: close", b"Keep-Alive: timeout=1",
    b"Expect: 100-continue", b"Expect: y 100-continue", b"Expect: 100-Continue", b"Expect: 100-continue, 100-continue",
    b"Expect: 200-ok", b"TE: trailers", b"TE: chunked", b"Host: b", b"X-A: \xff", b"Content-Encoding: gzip", b"Range: bytes=0-",
    b"Trailer: content-length", b"Max-Forwards: 0", b"X-HTTP-Method-Override: GET", b"X-Original-URL: /healthz",
    b"X-A: " + b"a" * 70_000,
]
# Headers that end the connection: they say so, or are no headers, or are too many or too long.
ODD = [
    b"Connection: close", b"Connection: close, keep-alive", b"Expect:\r\n 100-continue", b"Host : b", b" Host: b", b"X-A\x00: a",
    b"X-A: a\x00b", b"X-A: a\rb", b"X-A: a\nb", b"X-A: a\r\n b", b"X-A : a", b"X A: a", b"X-A", b": a", b"X-A: \x7f", b"X\xff: a",
    b"X-A(: a", b"X" * 70_000 + b": a", b"X-A: a\r\n" * 300 + b"X-B: b",
]


def lines() -> Iterator[Form]:
    """First lines, versions and headers around a body whose length is plain."""

    def plain(name: str, first: bytes, more: bytes = b"", is_apart: bool = False) -> Form:
        return Form(name, lambda o, h: o.ask(more + length(len(o.body)), o.body + h, first), is_apart)

    def taken(name: str, first: bytes, more: bytes = b"") -> Form:
        """The hidden request is all of the body, by its length."""
        return Form(name, lambda o, h: o.ask(more + length(len(h)), h, first))

    chat = b"POST /v1/chat/completions "
    yield plain("in order", chat + b"HTTP/1.1", b"", True)
    for method in [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"PUT", b"PATCH", b"CONNECT", b"post", b"PROPFIND", b"PRI", b"GE\x00T"]:
        shown = method.decode("latin-1")
        yield taken(f"{shown} with a body", method + b" /v1/models HTTP/1.1")
        yield taken(f"{shown} of nothing with a body", method + b" /healthz HTTP/1.1")
        yield Form(f"{shown} with chunks", lambda o, h, m=method: o.ask(CHUNKED, chunk(h) + LAST, m + b" /v1/models HTTP/1.1"))
        yield Form(f"{shown} without a length", lambda o, h, m=method: o.ask(b"", h, m + b" /v1/models HTTP/1.1"),
                   method not in (b"CONNECT", b"GE\x00T"))
    for path in [b"/v1/nothing", b"/", b"/sign-in", b"/v1/key/revoke", b"/dashboard", b"/admin/v1/keys", b"/readyz", b"/v1/models/m",
                 b"/v1/..%2f", b"//v1/chat/completions", b"/assets/x.css"]:
        yield taken(f"POST {path.decode()} with a body that nobody reads", b"POST " + path + b" HTTP/1.1")
    for version in [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/2.0", b"HTTP/2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1,1",
                    b"HTTP/1.1x", b"HTTP /1.1", b"HTTP/01.1", b"", b"HTTP/1.1\x00", b" HTTP/1.1", b"\tHTTP/1.1", b"\x0bHTTP/1.1", b"x HTTP/1.1"]:
        shown = repr(version)[2:-1]
        yield plain(f"version {shown!r}", chat + version)
        yield plain(f"version {shown!r}, kept alive", chat + version, b"Connection: keep-alive\r\n", version == b"HTTP/1.0")
        yield Form(f"version {shown!r} with chunks", lambda o, h, v=version: o.ask(
            CHUNKED + b"Connection: keep-alive\r\n", chunk(o.body) + LAST + h, chat + v))
    for target in [b"http://ai.example.com/v1/chat/completions", b"http://b/v1/chat/completions", b"*", b"b:80",
                   b"/v1/chat/completions%0d%0a", b"/v1/chat/completions%20HTTP/1.1%0d%0aX:%20a"]:
        yield plain(f"target {target!r}", b"POST " + target + b" HTTP/1.1", b"", True)
    for target in [b"/v1/chat/completions#a", b"/v1/chat/completions?a b", b"/v1/chat/completions\r?", b"/v1/chat/completions\x00",
                   b"/v1/chat/completions\xff", b"\\v1\\chat\\completions", b"@b/v1", b""]:
        yield plain(f"target {target!r}", b"POST " + target + b" HTTP/1.1")
    for before in [b"\r\n", b"\n", b"\r", b" ", b"\x00", b"\r\n\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n", b"\x16\x03\x01", b"\xef\xbb\xbf"]:
        yield Form(f"{before!r} before all", lambda o, h, b=before: b + o.ask(length(len(o.body)), o.body + h), before in (
            b"\r\n", b"\r\n\r\n\r\n", b"\n"))
        yield Form(f"{before!r} between the two", lambda o, h, b=before: o.ask(length(len(o.body)), o.body + b + h), before in (
            b"\r\n", b"\r\n\r\n\r\n", b"\n"))
    for more in [*FINE, *ODD]:
        what = repr(more)[2:-1][:60]
        yield plain(f"beside {what}", chat + b"HTTP/1.1", more + b"\r\n", more in FINE)
        yield taken(f"GET with a body beside {what}", b"GET /v1/models HTTP/1.1", more + b"\r\n")
    for line_end in [b"\n", b"\r", b"\n\r"]:
        yield Form(f"lines that end with {line_end!r}", lambda o, h, e=line_end: o.ask(
            length(len(o.body)), b"").replace(b"\r\n", e) + o.body + h)
        yield Form(f"a head that ends with {line_end!r}", lambda o, h, e=line_end: o.ask(
            length(len(o.body)), b"")[:-2] + e + o.body + h)
        yield Form(f"hidden in a header behind {line_end!r}", lambda o, h, e=line_end: o.ask(
            length(len(o.body)) + b"X-A: a" + e + e + h.replace(b"\r\n", e), o.body))
    yield Form("hidden in a header's folded lines", lambda o, h: o.ask(
        length(len(o.body)) + b"X-A: a\r\n " + h.replace(b"\r\n", b"\r\n "), o.body))
    yield Form("a length that takes in more than comes", lambda o, h: o.ask(length(len(o.body + h) + 50), o.body + h))
    yield Form("a length that ends in the body", lambda o, h: o.ask(length(len(o.body) - 5), o.body + h))
    yield Form("no length and no encoding", lambda o, h: o.ask(b"", o.body + h))
    yield Form("a length of nothing", lambda o, h: o.ask(length(0), h), True)


FORMS: list[Form] = [*encodings(), *lengths(), *chunks(), *lines()]

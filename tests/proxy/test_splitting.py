"""Proof 4: no line end that a caller or a model server sends makes a header, or an answer, of Ember's."""

import json
import re
import socket
from contextlib import ExitStack
from types import SimpleNamespace
from urllib.parse import quote, quote_from_bytes

import httpx2 as httpx
import pytest

import proof
from caller import request
from conftest import PASSWORD, Ember
from listener import Listener
from proxies import NAME, free_port
from recorder import MODELS, Reader, whole
from stack import get

# What some parser or other takes for the end of a line, or makes one of: among them what becomes CR and LF when only the low
# byte of a character is kept, and separators of Unicode.
BREAKS = [b"\r\n", b"\n", b"\r", b"\r\n ", b"\n\t", b"\r\r\n", b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\x85",
          b"\xe2\x80\xa8", b"\xe5\x98\x8d\xe5\x98\x8a", b"\xc4\x8d\xc4\x8a", b"\xff\r\n"]
MADE = [b"Injected: 1", b"Set-Cookie: injected=1", b"\r\nHTTP/1.1 200 OK\r\nInjected: 1\r\n\r\ninjected"]
LINE = re.compile(rb"[a-z0-9-]+: [\t -~\x80-\xff]*")
JSON = b"content-type: application/json\r\n"
END_SECONDS = 0.2
CASE = re.compile(rb"case-([0-9]+)-")


class Splitter(Listener):
    """A model server that answers with the bytes of whichever case it is asked for, else as one should."""

    def __init__(self):
        self.cases: list[bytes] = []
        self.asked = 0
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        with connection:
            try:
                while (head := reader.head()) is not None:
                    length = re.search(rb"content-length: (\d+)", head)
                    body = reader.body(int(length[1])) if length else b""
                    found = CASE.search(body)
                    self.asked += found is not None
                    connection.sendall(self.cases[int(found[1])] if found else whole(body or MODELS))
                    # Some have no end but that of the connection, which others leave open for the next request: it comes
                    # well before that.
                    connection.settimeout(END_SECONDS if found else None)
            except OSError:
                pass


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    model, port = Splitter(), free_port()
    with ExitStack() as ending:
        ending.callback(model.listener.close)
        origins = 'cors_origins = ["https://app.example.com"]'
        ember = Ember(tmp_path_factory.mktemp("splitting") / "ember", model, port, port, True, server=origins, in_flight_max=100)
        ending.callback(ember.child.end)
        token = ember.cli("token", "create", "t").strip().splitlines()[-1]
        made = SimpleNamespace(ember=ember, model=model, key=ember.issue("--allow-browser"), token=token, port=port, count=0,
                               found=0)
        made.host = f"Host: {NAME}:{port}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n".encode()
        assert get(f"http://127.0.0.1:{port}/v1/models", made.key)[0] == 200
        yield made
    proof.show("requests and model servers' answers with line ends where a header could come of them", made.count, "any")
    proof.show("headers that came of them", made.found, "0")


def asked(split, text: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """The answer to these bytes: its first line, its headers, its body; nothing else may have come."""
    split.count += 1
    answer = answered(split, text)
    try:
        return in_parts(text, answer)
    except (AssertionError, ValueError):
        split.found += 1
        raise


def answered(split, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", split.port), timeout=5) as connection:
        answer = b""
        try:
            connection.sendall(text)
            while piece := connection.recv(1 << 16):
                answer += piece
        except TimeoutError as error:
            raise AssertionError((text, answer)) from error
        except OSError:
            pass
    return answer


def in_parts(text: bytes, answer: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    head, end, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert end and re.fullmatch(rb"HTTP/1\.[01] \d\d\d [A-Za-z -]*", first), (text[:400], answer[:400])
    assert all(LINE.fullmatch(line) for line in lines), (text[:400], head)
    pairs = [tuple(line.split(b": ", 1)) for line in lines]
    assert not any(b"injected" in name for name, _ in pairs), (text[:400], head)
    assert not any(name == b"set-cookie" and b"injected" in value for name, value in pairs), (text[:400], head)
    return first, pairs, in_its_length(pairs, body)


def in_its_length(pairs: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    headers = dict(pairs)
    if headers.get(b"transfer-encoding") == b"chunked":
        plain = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            plain, end, body = plain + body[:int(size, 16)], body[int(size, 16):][:2], body[int(size, 16) + 2:]
            assert end == b"\r\n", (plain, body)
            if not int(size, 16):
                break
        assert not body, body
        return plain
    assert len(body) == int(headers.get(b"content-length", len(body))), (pairs, body)
    return body


def test_no_caller_makes_a_header(split):
    bearer = f"Authorization: Bearer {split.key}\r\n".encode()
    close = b"Connection: close\r\n"

    def head(first: bytes, *more: bytes) -> bytes:
        return first + b" HTTP/1.1\r\n" + split.host + close + b"".join(more) + b"\r\n"

    _, pairs, _ = asked(split, head(b"GET /v1/models", bearer, b"X-Request-Id: echoed\r\n"))
    assert (b"x-request-id", b"echoed") in pairs, "there is an echo to be split"
    names = [b"X-Request-Id", b"Origin", b"Referer", b"User-Agent", b"Cookie", b"Accept", b"Idempotency-Key", b"OpenAI-Organization",
             b"OpenAI-Project", b"traceparent", b"If-None-Match", b"Range", b"Accept-Language", b"Content-Type", b"Sec-Fetch-Site",
             b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"Forwarded", b"Host", b"X-Csrf-Token"]
    chat = json.dumps({"model": "m", "messages": []}).encode()
    for broken in (cut + made for cut in BREAKS for made in MADE):
        for shown in (b"a" + broken, broken):
            for name in names:
                line = name + b": " + shown + b"\r\n"
                own = bearer + b"Content-Length: %d\r\n" % len(chat)
                asked(split, head(b"GET /v1/nothing", line))
                # A line end that is one makes a header of the caller's own, and of nobody else's.
                asked(split, head(b"POST /v1/chat/completions", line, own) + chat)
            asked(split, head(b"GET /v1/models", b"Authorization: Bearer " + shown + b"\r\n"))
            for asks in (b"Access-Control-Request-Headers: ", b"Access-Control-Request-Method: ", b"Origin: https://app.example.com"):
                asked(split, head(b"OPTIONS /v1/models", b"Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n",
                                  asks + shown + b"\r\n"))
        for written in {quote_from_bytes(broken), quote(quote_from_bytes(broken)), broken.decode("latin-1")}:
            raw = written.encode("latin-1")
            for path in (b"/v1/%s", b"/v1/models/%s", b"/v1/models?a=%s", b"/%s", b"/dashboard/%s", b"/dashboard/keys?search=%s",
                         b"/sign-in?next=%s", b"/sign-in?next=/dashboard/%s", b"/invite/%s", b"/reset/%s", b"/assets/%s",
                         b"/admin/v1/keys/%s", b"/admin/v1/keys?search=%s", b"/healthz?%s"):
                asked(split, head(b"GET " + path.replace(b"%s", raw), bearer))
            asked(split, head(b"GET" + raw + b" /v1/models", bearer))


def test_no_text_in_a_body_makes_a_header(split):
    """Names that are shown again: of models, of keys and accounts."""
    def post(path: str, credential: str, body: object) -> tuple:
        text = json.dumps(body).encode()
        return asked(split, f"POST {path} HTTP/1.1\r\n".encode() + split.host + f"Authorization: Bearer {credential}\r\n".encode()
                     + b"Connection: close\r\n" + JSON + b"Content-Length: %d\r\n\r\n" % len(text) + text)

    assert b"200" in post("/admin/v1/keys", split.token, {"account": "a@example.com", "name": "plain", "environment": "dev"})[0]
    for broken in ((cut + made).decode("utf-8", "replace") for cut in BREAKS for made in MADE):
        for name in (broken, f"a{broken}"):
            post("/v1/chat/completions", split.key, {"model": name, "messages": []})
            post("/v1/completions", split.key, {"model": "m", "prompt": name, name: 1})
            post("/v1/responses", split.key, {"model": name, "input": name, "previous_response_id": name})
            post("/admin/v1/keys", split.token, {"account": "a@example.com", "name": name[:64], "environment": "dev"})
            post("/admin/v1/keys", split.token, {"account": name, "name": "a", "environment": name})
            post("/admin/v1/accounts", split.token, {"email": f"b{name[:9]}@example.com", "name": name[:64]})
            post(f"/admin/v1/keys/{quote(name, safe='')}/revoke", split.token, {"reason": name})


def sign_in(split) -> tuple[str, str]:
    """A person's session, and the token of his forms."""
    headers = {"host": f"{NAME}:{split.port}", "x-forwarded-proto": "https"}
    with httpx.Client(base_url=f"http://127.0.0.1:{split.port}", headers=headers, trust_env=False) as client:
        def page(path: str, cookie: str) -> tuple[str, str]:
            answer = client.get(path, headers={"cookie": cookie})
            given = [line.split(";")[0] for line in answer.headers.get_list("set-cookie")]
            return re.search(r'name="csrf" value="([^"]+)"', answer.text)[1], "; ".join(given) or cookie

        csrf, visitor = page("/sign-in", "")
        form = {"csrf": csrf, "email": "a@example.com", "password": PASSWORD}
        answer = client.post("/sign-in", data=form, headers={"cookie": visitor, "origin": f"https://{NAME}:{split.port}"})
        cookie = next(line.split(";")[0] for line in answer.headers.get_list("set-cookie") if "session" in line)
        return cookie, page("/dashboard/keys/new", cookie)[0]


def test_no_field_of_a_form_makes_a_header(split):
    """Where a person is led to, and what he calls things."""
    cookie, csrf = sign_in(split)
    origin = f"Origin: https://{NAME}:{split.port}\r\n"
    usual = split.host + f"Cookie: {cookie}\r\n{origin}Connection: close\r\n".encode()

    def read(path: str) -> dict[bytes, bytes]:
        return dict(asked(split, b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), usual))[1])

    def post(path: str, **fields: str) -> dict[bytes, bytes]:
        body = "&".join(f"{name}={quote(value, safe='')}" for name, value in {"csrf": csrf, **fields}.items()).encode()
        kind = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
        return dict(asked(split, b"POST %s HTTP/1.1\r\n%s%s%s" % (path.encode(), usual, kind, body))[1])

    assert read("/sign-in?next=%2Fdashboard%2Fkeys")[b"location"] == b"/dashboard/keys", "there is a redirect to be split"
    assert b"ember-usage.csv" in read("/dashboard/usage/csv")[b"content-disposition"], "and the name of a file"
    for broken in (cut + made for cut in BREAKS for made in MADE):
        text = quote_from_bytes(broken)
        for place in (f"/dashboard/{text}", f"/dashboard?{text}", f"/dashboard/{quote(text)}", f"{text}", f"/dashboard/keys/a{text}"):
            location = read(f"/sign-in?next={place}").get(b"location", b"")
            assert b"\r" not in location and b"\n" not in location
        for query in ("by", "since", "until", "account", "key", "model", "file"):
            read(f"/dashboard/usage/csv?{query}={text}")
        named = broken.decode("utf-8", "replace")
        post("/dashboard/keys", name=named[:64], environment="dev")
        post("/dashboard/keys", name="a", environment=named)
        post("/dashboard/account/name", name=named[:64])
        post("/dashboard/account/theme", theme=named, next=f"/dashboard/{named}")
        post("/dashboard/accounts", email=f"c{named}@example.com", name=named)
        post("/dashboard/accounts/invite", email=f"d{named}@example.com", role=named)


def answers() -> list[bytes]:
    """What a model server may say to make headers that it may not."""
    body = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    said = []
    statuses = [b"200 OK", b"400 Bad Request", b"500 Oh", b"404 Not Found", b"429 Too Many Requests", b"503 Oh", b"302 Found"]
    for status in statuses[:proof.size(2, 7)]:
        def answer(more: bytes, line: bytes = b"HTTP/1.1 " + status, content: bytes = body) -> bytes:
            return line + b"\r\n" + more + b"content-length: %d\r\n\r\n" % len(content) + content

        for broken in (cut + made for cut in BREAKS for made in MADE):
            for name in (b"openai-model", b"retry-after", b"server-timing", b"x-request-id", b"location", b"set-cookie", b"date"):
                said.append(answer(JSON + name + b": 1" + broken + b"\r\n"))
            said.append(answer(b"content-type: application/json" + broken + b"\r\n"))
            said.append(answer(b"content-type: text/event-stream" + broken + b"\r\n", content=b"data: {}\n\ndata: [DONE]\n\n"))
            said.append(answer(JSON + b"openai-a" + broken + b"\r\n"))
            said.append(answer(JSON + b"openai-a" + broken + b": 1\r\n"))
            said.append(answer(JSON, b"HTTP/1.1 " + status + broken))
        said += [
            answer(JSON) + answer(JSON + b"Injected: 1\r\n"),
            b"HTTP/1.1 103 Early Hints\r\nInjected: 1\r\n\r\n" + answer(JSON),
            b"HTTP/1.1 101 Switching Protocols\r\nInjected: 1\r\n\r\n" + answer(JSON),
            answer(JSON + b"transfer-encoding: chunked\r\n", content=b"0\r\nInjected: 1\r\n\r\n"),
            answer(JSON + b"content-length: 0\r\n", content=b"HTTP/1.1 200 OK\r\nInjected: 1\r\n\r\n"),
            b"HTTP/1.1 " + status + b"\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n2;\r\nInjected: 1\r\n{}\r\n0\r\nInjected: 1\r\n\r\n",
            b"HTTP/1.1 " + status + b"\r\n" + JSON + b"transfer-encoding: chunked\r\ntrailer: Injected\r\n\r\n2\r\n{}\r\n0\r\nInjected: 1\r\n\r\n",
        ]
    return said


def test_no_model_server_makes_a_header(split):
    split.model.cases = answers()
    for number in range(len(split.model.cases)):
        case = {"model": "m", "messages": [{"role": "user", "content": f"case-{number}-"}], "stream": number % 3 == 0}
        asked(split, relayed(split, json.dumps(case).encode()))
        ordinary = request("n", "").body
        first, _, body = asked(split, relayed(split, ordinary))
        assert (first, body) == (b"HTTP/1.1 200 OK", ordinary), (number, split.model.cases[number])
    assert split.model.asked >= len(split.model.cases)


def relayed(split, body: bytes) -> bytes:
    return (b"POST /v1/chat/completions HTTP/1.1\r\n" + split.host + f"Authorization: Bearer {split.key}\r\n".encode()
            + b"Connection: close\r\n" + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body)

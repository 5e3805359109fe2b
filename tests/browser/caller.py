"""Owns a visitor without a browser: it keeps cookies, finds the token of a form and may lie in every header.
Knows nothing of what is asserted about the answers."""

import http.client
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from markup import Document

SESSION = "ember_session"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = "application/json"
Fields = dict[str, str | list[str]]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def document(self) -> Document:
        return Document(self.text)


class Caller:
    """`address` is where it calls from: all of 127.0.0.0/8 is this machine."""

    def __init__(self, url: str, address: str = "127.0.0.1"):
        self.url, self.address = url, address
        self.host = urlsplit(url).netloc
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Answer:
        """One request with the cookies it holds. `host` and all other headers may be given."""
        sent = {"host": self.host, "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        sent |= headers or {}
        if method != "GET":
            sent["content-length"] = str(len(body.encode()))
        line = http.client.HTTPConnection(self.host, timeout=20, source_address=(self.address, 0))
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value:
                line.putheader(name, value)
        line.endheaders(body.encode())
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        self._keep(answer.headers.get_all("set-cookie") or [])
        return Answer(answer.status, answer.headers, text)

    def _keep(self, lines: list[str]) -> None:
        for line in lines:
            for name, cookie in SimpleCookie(line).items():
                if cookie.value and cookie["max-age"] != "0":
                    self.cookies[name] = cookie.value
                else:
                    self.cookies.pop(name, None)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def token(self) -> str:
        """The token that goes into this visitor's forms."""
        pages = ["/dashboard/account", "/sign-in"] if SESSION in self.cookies else ["/sign-in"]
        found = [token for page in pages if (token := self.get(page).document.value("csrf"))]
        assert found, f"no form with a token at {pages}"
        return found[0]

    def honest(self) -> dict[str, str]:
        """The headers that a browser sends with a form of the dashboard's own."""
        return FORM | {"origin": self.url, "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}

    def post(self, path: str, fields: Fields | None = None) -> Answer:
        """Sends a form as a browser does."""
        body = urlencode({"csrf": self.token()} | (fields or {}), doseq=True)
        return self.ask("POST", path, body, self.honest())

    def program(self, method: str, path: str, body: str = "") -> Answer:
        """One request to the admin API, as the dashboard's own script may send it."""
        if method == "GET":
            return self.get(path)
        return self.ask(method, path, body, {"content-type": JSON, "origin": self.url, "x-csrf-token": self.token()})

    def sign_in(self, email: str, password: str, next: str = "") -> Answer:
        return self.post("/sign-in", {"email": email, "password": password, "next": next})

    def is_signed_in(self) -> bool:
        return self.get("/dashboard").status == 200

    def twin(self) -> "Caller":
        """Another visitor with the same cookies."""
        other = Caller(self.url, self.address)
        other.cookies = dict(self.cookies)
        return other

"""Owns what the tests are given: each proxy in front of an Ember that knows it and of one that does not, and clients."""

import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx2 as httpx
import openai
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "sdk"))

import proof
from fake_model import FakeModel
from proxies import NAME, Proxy, certificates, free_port, snippet
from recorder import Recorder
from stack import CLEAN, EMBER_BIN, Child, get, run, until

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
PASSWORD = "correct horse battery staple"
SERIAL = itertools.count(1)
RESOLVE = socket.getaddrinfo


def resolve(host, *args, **kwargs):
    """The name of the documents is this machine, for clients in this process."""
    return RESOLVE("127.0.0.1" if host in (NAME, NAME.encode()) else host, *args, **kwargs)


socket.getaddrinfo = resolve


@pytest.fixture(autouse=True)
def deadline(request):
    """No test waits for ever: what hangs fails, and says where."""
    mark = request.node.get_closest_marker("seconds")
    seconds = mark.args[0] if mark else 60

    def expire(*_):
        raise TimeoutError(f"the test took {seconds} s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


def pytest_terminal_summary(terminalreporter):
    for line in proof.FIGURES:
        terminalreporter.write_line(line)


class Ember:
    """Ember as docs/proxy.md configures it, on another port; `told` is whether it is told of its proxy."""

    def __init__(self, home: Path, model: FakeModel | Recorder, port: int, public_port: int, told: bool, server: str = "",
                 in_flight_max: int = 1):
        home.mkdir()
        self.data, self.config = home / "data", home / "ember.toml"
        text = snippet("toml").replace(":7411", f":{port}").replace(NAME, f"{NAME}:{public_port}")
        if not told:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("trusted_proxies"))
        assert ("trusted_proxies" in text) == told and f"https://{NAME}:{public_port}" in text, text
        self.config.write_text(
            f'{text}\nkeepalive_after = "300ms"\n{server}\n[dashboard]\nsign_up = "invite"\n'
            f'[[upstream]]\nname = "fake"\nurl = "{model.url}"\nin_flight_max = {in_flight_max}\n')
        self.child = Child([EMBER_BIN, "--data", str(self.data), "-c", str(self.config), "serve"], CLEAN)
        with ExitStack() as when_it_fails:
            when_it_fails.callback(self.child.end)
            self.url = self.child.wait_for(r"listening on (http://127\.0\.0\.1:\d+)")
            until(lambda: get(f"{self.url}/readyz")[0] == 200, f"/readyz of {self.url}\n{self.child.output()}", 15)
            self.cli("account", "create", "a@example.com", "--admin", "--password-stdin", stdin=PASSWORD + "\n")
            when_it_fails.pop_all()

    def cli(self, *words: str, stdin: str = "") -> str:
        return run([EMBER_BIN, "--data", str(self.data), "-c", str(self.config), *words], stdin)

    def issue(self, *more: str) -> str:
        name = f"app-{next(SERIAL)}"
        return self.cli("key", "create", "--account", "a@example.com", "--name", name, *more).strip()


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("proxy"))


@pytest.fixture(scope="session", params=["nginx", "caddy", "haproxy"])
def kind(request):
    return request.param


@contextmanager
def stage_of(kind: str, home: Path, there: Path, told: bool) -> Iterator[SimpleNamespace]:
    """A proxy and an Ember, ended with the block whatever happens in it or before it."""
    with ExitStack() as ending:
        made = begin(ending, kind, home, there, told)
        yield made
        made.proxy.end()
        assert made.ember.child.end() == 0, "SIGTERM drains and exits 0"


def begin(ending: ExitStack, kind: str, home: Path, there: Path, told: bool) -> SimpleNamespace:
    model, port = FakeModel(), free_port()
    ending.callback(model.end)
    home.mkdir(exist_ok=True)
    proxy = Proxy(kind, home / "proxy", there, port)
    ending.callback(proxy.end)
    ember = Ember(home / "ember", model, port, proxy.port, told)
    ending.callback(ember.child.end)
    url = f"https://{NAME}:{proxy.port}"
    trust = ssl.create_default_context(cafile=str(there / "ca.pem"))

    def client(source: str = "127.0.0.1") -> httpx.Client:
        transport = httpx.HTTPTransport(verify=trust, local_address=source, trust_env=False)
        return httpx.Client(base_url=url, transport=transport, timeout=20, trust_env=False)

    def answers() -> bool:
        assert proxy.process.poll() is None, f"{kind} ended:\n{proxy.said()}"
        try:
            return client().get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    until(answers, f"{kind} at {url}:\n{proxy.said()}", 15)
    return SimpleNamespace(kind=kind, proxy=proxy, ember=ember, model=model, url=url, client=client, ca=there / "ca.pem",
                           port=proxy.port)


@pytest.fixture(scope="session")
def stage(kind, there, tmp_path_factory):
    """A proxy, and an Ember that is told of it."""
    with stage_of(kind, tmp_path_factory.mktemp(kind), there, True) as made:
        yield made


@pytest.fixture(scope="session")
def untold(kind, there, tmp_path_factory):
    """A proxy, and an Ember that is not told of it."""
    with stage_of(kind, tmp_path_factory.mktemp(f"{kind}-untold"), there, False) as made:
        yield made


@pytest.fixture(scope="session")
def key(stage):
    return stage.ember.issue()


@pytest.fixture
def sdk(stage, key):
    """The SDK as a caller uses it, but for retries: a test sees the first answer."""
    http_client = stage.client()
    yield openai.OpenAI(base_url=f"{stage.url}/v1", api_key=key, max_retries=0, timeout=20, http_client=http_client)
    http_client.close()


@pytest.fixture(autouse=True)
def free_slot(request):
    """The model server takes one request at a time: none is left over from the test before."""
    yield
    for name in ("stage", "untold"):
        if name in request.fixturenames:
            ember = request.getfixturevalue(name).ember
            until(lambda: '"in_flight": 0' in ember.cli("status", "-o", "json"), "the model server to be free", 10)

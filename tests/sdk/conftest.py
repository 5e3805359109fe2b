"""Owns what the tests are given: servers for the session, servers to kill, clients of the unmodified SDK."""

import itertools
import os
import signal
from types import SimpleNamespace

import openai
import pytest

from stack import Ember, Llama, Tap

UPSTREAM_KEY = "sk-llama-6c9d3f0e8b5a4712"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
SERIAL = itertools.count(1)


def connect(url: str, key: str, **options) -> openai.OpenAI:
    """The SDK as a caller uses it, but for retries: a test sees the first answer."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, **({"max_retries": 0, "timeout": 20} | options))


@pytest.fixture(autouse=True)
def deadline():
    """No test waits for ever: what hangs fails, and says where."""

    def expire(*_):
        raise TimeoutError("the test took 60 s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    server = Llama(tmp_path_factory.mktemp("llama"), UPSTREAM_KEY)
    yield server
    server.child.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def ember(tmp_path_factory, llama):
    server = Ember(tmp_path_factory.mktemp("ember"), llama.url, llama.key_file)
    yield server
    assert server.child.end() == 0, "SIGTERM drains and exits 0"


@pytest.fixture(scope="session")
def direct(llama):
    """The SDK at the model server itself: what Ember is measured against."""
    return connect(llama.url, llama.key)


@pytest.fixture(scope="session")
def client(ember):
    return connect(ember.url, ember.issue("app"))


@pytest.fixture
def fresh(ember):
    """A key of the test's own, its name and a client with it."""
    name = f"app-{next(SERIAL)}"
    key = ember.issue(name)
    return SimpleNamespace(name=name, key=key, client=connect(ember.url, key))


@pytest.fixture(scope="session")
def tapped(tmp_path_factory, llama):
    """An Ember whose model server is behind a recording relay."""
    tap = Tap(llama)
    server = Ember(tmp_path_factory.mktemp("tapped"), tap.url, llama.key_file)
    key = server.issue("app")
    yield SimpleNamespace(exchanges=tap.exchanges, key=key, client=connect(server.url, key))
    server.child.end()
    tap.server.shutdown()


@pytest.fixture
def mortal(tmp_path):
    """A pair of servers for this test alone, so that it may kill the model server."""
    model_server = Llama(tmp_path, UPSTREAM_KEY)
    server = Ember(tmp_path, model_server.url, model_server.key_file)
    pair = SimpleNamespace(llama=model_server, ember=server, client=connect(server.url, server.issue("app")), home=tmp_path)
    yield pair
    pair.llama.child.end(signal.SIGKILL)
    server.child.end(signal.SIGKILL)


def pytest_sessionfinish(session):
    """Nothing is skipped silently: a skipped or expected failure fails the run."""
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    if any(stats.get(kind) for kind in ("skipped", "xfailed", "xpassed")):
        session.exitstatus = 1

"""Owns what the tests are given: an Ember with people in it, a browser, tabs that are watched, a judge of pages."""

import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Playwright, expect, sync_playwright

from house import House, Person
from screen import Screen
from stack import SDK_PY, Ember, Llama
from views import Furnished, furnish

UPSTREAM_KEY = "sk-llama-6c9d3f0e8b5a4712"
SETTINGS = '\n[models]\necho = true\n\n[dashboard]\nsign_up = "{sign_up}"\n\n[limits.key]\ntokens_per_day = 5000000\n'
CHROMIUM = "/usr/bin/chromium"
ARGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
WAIT_MS = 10_000
ASSET = re.compile(r"\.(?:css|m?js|svg|png|ico|woff2?)(?:\?|$)")
REPORT = """addEventListener('securitypolicyviolation', event =>
    emberFault(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample} at ${location.pathname}`))"""

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
expect.set_options(timeout=WAIT_MS)
Visit = Callable[..., Screen]


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test waits for ever: what hangs fails, and says where."""

    def expire(*_):
        raise TimeoutError("the test took 60 s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Iterator[Llama]:
    server = Llama(tmp_path_factory.mktemp("llama"), UPSTREAM_KEY)
    yield server
    server.child.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def house(tmp_path_factory, llama) -> Iterator[House]:
    """An Ember that people come to by invitation."""
    yield from serve(tmp_path_factory.mktemp("ember"), llama, "invite")


@pytest.fixture(scope="session")
def open_house(tmp_path_factory, llama) -> Iterator[House]:
    """An Ember where anyone may sign up."""
    yield from serve(tmp_path_factory.mktemp("open"), llama, "open")


def serve(home, llama: Llama, sign_up: str, more: str = "") -> Iterator[House]:
    server = Ember(home, llama.url, llama.key_file, SETTINGS.format(sign_up=sign_up), more)
    yield House(server)
    assert server.child.end() == 0, "SIGTERM drains and exits 0"


@pytest.fixture(scope="session")
def furnished(house) -> Furnished:
    return furnish(house)


@pytest.fixture
def mia(house) -> Person:
    """A member of the test's own."""
    return house.member()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright) -> Iterator[Browser]:
    """Chromium as people have it: Playwright alone would turn the back-forward cache off."""
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=ARGS, ignore_default_args=["--disable-back-forward-cache"]
    )
    yield browser
    browser.close()


@pytest.fixture
def faults() -> list[str]:
    """What went wrong in the test's browsers: violations of the policy, errors of scripts, dialogs of the browser's.
    A test that causes some on purpose takes them out."""
    return []


@pytest.fixture
def visit(house, browser, faults) -> Iterator[Visit]:
    """Opens a browser of its own for somebody, or for nobody, and fails the test that ends with a fault in one."""
    contexts: list[BrowserContext] = []

    def visit(person: Person | None = None, has_script: bool = True, url: str = house.url, **options) -> Screen:
        context = browser.new_context(java_script_enabled=has_script, **options)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        watch(context, faults)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        if person:
            kept = person.caller.cookies.items()
            context.add_cookies([{"name": name, "value": value, "url": url, "httpOnly": True} for name, value in kept])
        return Screen(context.new_page(), url, has_script)

    yield visit
    for context in contexts:
        context.close()
    assert not faults


def watch(context: BrowserContext, faults: list[str]) -> None:
    def hear(message: ConsoleMessage) -> None:
        # Chromium calls each page of a status above 399 an error; that it is one was asked for.
        is_answer = message.text.startswith("Failed to load resource") and not ASSET.search(message.location["url"])
        if message.type == "error" and not is_answer:
            faults.append(f"console: {message.text}")

    def dismiss(dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.expose_binding("emberFault", lambda _, what: faults.append(what))
    context.add_init_script(REPORT)
    context.on("console", hear)
    context.on("dialog", dismiss)
    context.on("weberror", lambda error: faults.append(f"script: {error.error}"))


@pytest.fixture(scope="session")
def axe() -> Callable[[Screen], list[str]]:
    """What axe-core has against the page as it is now: one line for each rule and element."""
    source = (SDK_PY / "axe/node_modules/axe-core/axe.min.js").read_text()

    def judge(screen: Screen) -> list[str]:
        screen.page.evaluate(source)
        found = screen.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{rule['id']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]

    return judge


def pytest_sessionfinish(session):
    """Nothing is skipped silently: a skipped or expected failure fails the run."""
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    if any(stats.get(kind) for kind in ("skipped", "xfailed", "xpassed")):
        session.exitstatus = 1

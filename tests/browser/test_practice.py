"""Keys do not belong in browsers: a real page that fetches from Ember is refused, unless its key and its origin are
allowed. What the key's page says of it."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from conftest import serve
from house import House
from screen import KEYS
from stack import MODEL

ASK = """async ([url, key, path, body]) => {
    try {
        const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", "x-stainless-lang": "js" };
        const answer = await fetch(url + path, { method: body ? "POST" : "GET", headers, body: body || undefined });
        const json = await answer.json();
        return { status: answer.status, code: json.error?.code, id: answer.headers.get("x-request-id"),
                 took: answer.headers.get("openai-processing-ms") };
    } catch (error) {
        return { failed: error.name };
    }
}"""
CHAT = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}],"max_tokens":4}}'
ROUTES = [("/v1/models", ""), ("/v1/chat/completions", CHAT)]


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>An application</title>")

    def log_message(self, *_: object) -> None:
        pass


def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


app = pytest.fixture(scope="module")(site)
other = pytest.fixture(scope="module")(site)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, llama, app) -> Iterator[House]:
    """An Ember that knows the application's origin."""
    yield from serve(tmp_path_factory.mktemp("shop"), llama, "invite", f'cors_origins = ["{app}"]\n')


@pytest.fixture
def page(browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def ask(page: Page, url: str, key: str, path: str, body: str) -> dict:
    return page.evaluate(ASK, [url, key, path, body])


@pytest.mark.parametrize("path, body", ROUTES)
def test_an_allowed_key_works_from_the_configured_origin_only(shop, app, other, page, path, body):
    open_key = shop.key(shop.admin, "", "--allow-browser").secret
    page.goto(app)
    answer = ask(page, shop.url, open_key, path, body)
    assert answer["status"] == 200, answer
    assert answer["id"].startswith("req_") and answer["took"].isdigit(), "the page may read these headers"
    assert ask(page, shop.url, "nonsense", path, body)["code"] == "invalid_api_key", "the page may read errors, too"
    page.goto(other)
    assert ask(page, shop.url, open_key, path, body) == {"failed": "TypeError"}, "the preflight is refused"


@pytest.mark.parametrize("path, body", ROUTES)
def test_a_key_that_is_not_for_browsers_is_refused_and_its_page_says_so(shop, app, page, visit, path, body):
    key = shop.key(shop.admin)
    page.goto(app)
    answer = ask(page, shop.url, key.secret, path, body)
    assert (answer["status"], answer["code"]) == (403, "browser_not_allowed"), answer
    assert shop.show(key.id)["seen"]["browsers_refused"]["origin"] == app
    screen = visit(shop.admin, url=shop.url)
    screen.go(f"{KEYS}/{key.id}")
    said = screen.everything()
    assert "Refused once" in said and app in said, "the key's page counts it and names the site"


def test_by_default_no_page_reaches_anything(house, app, page):
    open_key = house.key(house.admin, "", "--allow-browser").secret
    page.goto(app)
    for path, body in ROUTES:
        assert ask(page, house.url, open_key, path, body) == {"failed": "TypeError"}
    page.goto(f"{house.url}/sign-in")
    # Its own policy for pages stops them first; where it did not, the key would be refused.
    for path, body in ROUTES:
        assert ask(page, house.url, open_key, path, body).get("status", 403) == 403


def test_clients_stand_on_the_keys_page_with_a_hint_when_they_are_many(house, mia, visit):
    key = house.key(mia)
    for client in ("OpenAI/Python 1.99.9", "curl/8.5.0", "node"):
        answer = mia.caller.ask("GET", "/v1/models", headers={"authorization": f"Bearer {key.secret}", "user-agent": client})
        assert answer.status == 200
    screen = visit(mia)
    screen.go(f"{KEYS}/{key.id}")
    said = screen.everything()
    assert "3 clients in 1 network" in said and "OpenAI/Python 1.99.9" in said and "127.0.0.1" in said
    screen.open(f"{KEYS}/new")

"""What every answer says to the browser about itself: the content security policy and its kin; and that nothing on
any page goes against it. (Every other test of this suite fails on a violation, too: see `visit`.)"""

import re

import pytest
from playwright.sync_api import Response

from caller import FORM, Caller
from stack import until
from views import NO_KEY, PAGES, VIEWS

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
}


def is_guarded(answer) -> None:
    stated = [part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split(";") if part.strip()]
    assert sorted(map(tuple, stated)) == sorted(POLICY.items())
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert len(answer.headers.get_all("content-security-policy")) == 1


def is_plain(answer) -> None:
    """A page without script or style of its own, that asks nobody else for anything."""
    page = answer.document
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert page.scripts_inline == []
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("href", "src", "action", "formaction"):
            where = attributes.get(name, "/")
            assert re.match(r"/(?!/)|[?#]", where), f"<{tag} {name}={where}> leads elsewhere"


@pytest.mark.parametrize("view", PAGES, ids=[view.name for view in PAGES])
def test_every_page_is_guarded_and_plain(house, furnished, view):
    person = furnished.people[view.who]
    caller = person.caller.twin() if person else Caller(house.url)
    answer = caller.get(view.path.format(**furnished.places))
    assert view.status in (None, answer.status)
    is_guarded(answer)
    is_plain(answer)


REFUSALS = {
    "wrong token": (403, "POST", "/dashboard/keys", {}, "csrf=no"),
    "foreign origin": (403, "POST", "/sign-in", {"origin": "https://evil.example"}, ""),
    "no such page": (404, "GET", "/dashboard/nowhere", {}, ""),
    "no such key": (404, "GET", f"/dashboard/keys/{NO_KEY}", {}, ""),
    "not an id": (404, "GET", "/dashboard/keys/script", {}, ""),
    "other host": (421, "GET", "/dashboard", {"host": "evil.example"}, ""),
}


@pytest.mark.parametrize(("status", "method", "path", "headers", "body"), REFUSALS.values(), ids=REFUSALS)
def test_every_refusal_is_guarded_and_plain(mia, status, method, path, headers, body):
    answer = mia.caller.ask(method, path, body, mia.caller.honest() | headers)
    assert answer.status == status
    is_guarded(answer)
    is_plain(answer)


def test_what_is_no_page_is_answered_in_json(mia):
    """Odd paths and methods are nobody's: they never reach a page, whoever asks."""
    for status, method, path in ((401, "GET", "/nowhere"), (401, "GET", "/dashboard/%3Cscript%3E"), (405, "DELETE", "/dashboard")):
        answer = mia.caller.ask(method, path)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), path


def test_a_form_that_is_answered_is_guarded_too(mia):
    once = mia.caller.get("/dashboard/keys/new").document.value("once")
    fields = {"name": "x", "environment": "dev", "scope": "all", "expiry": "never", "once": once}
    issued, wrong = mia.caller.post("/dashboard/keys", fields), mia.caller.post("/dashboard/keys", {"name": ""})
    for answer in (issued, wrong):
        is_guarded(answer)
        is_plain(answer)
    assert (issued.status, wrong.status < 500) == (200, True)
    assert mia.caller.post("/dashboard/account/theme", {"theme": "dark"}).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"])
def test_under_another_name_nothing_is_served(house, mia, host):
    for path in ("/", "/sign-in", "/dashboard", "/dashboard/keys"):
        assert mia.caller.ask("GET", path, headers={"host": host}).status == 421
    before = house.state(mia)
    body = f"csrf={mia.caller.token()}&name=Evil"
    headers = FORM | {"host": host, "origin": f"http://{host}"}
    assert mia.caller.ask("POST", "/dashboard/account/name", body, headers).status == 421
    assert house.state(mia) == before


def test_style_and_script_come_from_here_and_may_be_kept(mia):
    page = mia.caller.get("/dashboard").document
    sources = [a["src"] for tag, a in page.tags if tag == "script"]
    styles = [a["href"] for tag, a in page.tags if tag == "link" and a.get("rel") in ("stylesheet", "icon")]
    assert sources and len(styles) >= 2
    for path in sources + styles:
        answer = Caller(mia.caller.url).get(path)
        assert answer.status == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
def test_no_page_breaks_the_policy_and_all_it_asks_for_comes(visit, furnished, view):
    screen = visit(furnished.people[view.who])
    failed = []

    def look(answer: Response) -> None:
        if answer.status > 399 and answer.request.resource_type != "document":
            failed.append(answer.url)

    screen.page.on("requestfailed", lambda request: failed.append(request.url))
    screen.page.on("response", look)
    view.show(screen, furnished)
    assert failed == []


def test_a_violation_would_be_heard(visit, faults):
    screen = visit()
    screen.go("/sign-in")
    screen.page.evaluate(
        """() => {
            const bad = document.createElement('script');
            bad.textContent = 'window.ran = 1';
            document.body.append(bad);
        }"""
    )
    until(lambda: screen.page.evaluate("1") and any("script-src" in fault for fault in faults), "the fault is heard", 5)
    assert screen.page.evaluate("window.ran") is None
    faults.clear()

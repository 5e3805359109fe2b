"""What people type is shown as they typed it, and never run; and no link leads a new session elsewhere."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from caller import Caller
from house import PASSWORD
from screen import KEYS, Screen

# Each would call `emberFault`, which `visit` hears, if it ever ran; the policy is switched off, so that escaping alone
# is what stops it.
TYPED = [
    '"><script>emberFault(1)</script>',
    "'><img src=x onerror=emberFault(2)>",
    "' onfocus='emberFault(3)' autofocus='",
    "javascript:emberFault(4)",
    "</title></textarea><svg/onload=emberFault(5)>",
    "{{7*7}}${7*7}<%=7*7%>",
    "&lt;b&gt; &amp;amp; <b>bold</b>",
    "--><script>emberFault(6)</script><!--",
    "\\u003cscript\\u003eemberFault(7)\\u003c/script\\u003e",
    "` ${emberFault(8)} `",
]
REFUSED = ["two\u2028lines", "two\u2029lines", "hid\u200bden", "\u202etxt.exe", "nul\x00", "\x1b[2J", "\ufeffmark"]
REFUSED += ["a" * 65, ""]
TYPED_EACH = pytest.mark.parametrize("typed", TYPED)


def shows(screen: Screen, path: str, typed: str) -> None:
    screen.go(path)
    body = screen.page.locator("body")
    assert typed in body.inner_text() or typed in typed_values(screen), f"{path} does not show it as it was typed"
    assert screen.page.locator("main b, main svg[onload], main img[onerror]").count() == 0
    assert screen.page.locator("script:not([src])").count() == 0


def typed_values(screen: Screen) -> list[str]:
    return screen.page.locator("input, textarea").evaluate_all("fields => fields.map(field => field.value)")


@TYPED_EACH
def test_a_name_is_shown_as_it_was_typed_and_not_run(house, visit, typed):
    person = house.person(name=typed)
    key = house.key(person, typed)
    member = visit(person, bypass_csp=True)
    page = f"{KEYS}/{key.id}"
    for path in ("/dashboard/account", KEYS, page, f"{page}/edit", f"{page}/rotate", f"{page}/delete"):
        shows(member, path, typed)
    admin = visit(house.admin, bypass_csp=True)
    account = f"/dashboard/accounts/{person.id}"
    for path in ("/dashboard/accounts", account, f"{KEYS}?account={person.id}", page, "/dashboard/audit"):
        shows(admin, path, typed)


@TYPED_EACH
def test_a_name_typed_into_the_form_is_the_name(house, visit, mia, typed):
    screen = visit(mia, bypass_csp=True)
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    screen.send(KEYS, name=typed)
    screen.secret()
    assert typed in screen.dialog.inner_text() + "".join(typed_values(screen))
    assert [key["name"] for key in house.keys(mia)] == [typed]


@TYPED_EACH
def test_a_search_is_shown_as_it_was_typed_and_not_run(house, visit, mia, typed):
    house.key(mia)
    screen = visit(mia, bypass_csp=True)
    shows(screen, f"{KEYS}?search={quote(typed)}", typed)
    screen.go(f"{KEYS}?environment={quote(typed)}&sort={quote(typed)}&page={quote(typed)}&account={quote(typed)}")
    admin = visit(house.admin, bypass_csp=True)
    shows(admin, f"/dashboard/audit?search={quote(typed)}", typed)
    admin.go(f"/dashboard/audit?action={quote(typed)}")


@TYPED_EACH
def test_what_was_typed_to_sign_in_is_shown_and_not_run(visit, typed):
    screen = visit(bypass_csp=True)
    screen.go(f"/sign-in?next={quote(typed)}")
    form = screen.form("/sign-in")
    form.evaluate("form => { form.noValidate = true; form.querySelector('[name=email]').type = 'text'; }")
    screen.send("/sign-in", email=typed, password="wrong password")
    expect(screen.main.get_by_role("alert")).to_be_visible()
    assert typed in typed_values(screen)


@TYPED_EACH
def test_paths_are_not_run(visit, faults, mia, typed):
    screen = visit(mia, bypass_csp=True)
    for base in ("/", "/dashboard/", f"{KEYS}/", "/invite/", "/reset/"):
        screen.go(base + quote(typed, safe=""))
    screen.go("/dashboard")
    # What the browser says of the status itself.
    faults[:] = [fault for fault in faults if "status of 401" not in fault and "status of 404" not in fault]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_deceives_is_refused(house, mia, name):
    key = house.key(mia, "honest")
    once = mia.caller.get(f"{KEYS}/new").document.value("once")
    form = {"name": name, "environment": "dev", "scope": "all", "expiry": "never", "once": once}
    before = house.state(mia)
    attempts = {KEYS: form, f"{KEYS}/{key.id}/edit": {"name": name, "scope": "all", "expiry": "keep"}}
    for path, fields in attempts.items():
        answer = mia.caller.post(path, fields)
        assert 400 <= answer.status < 500, f"{path} answered {answer.status}"
    if name:
        assert 400 <= mia.caller.post("/dashboard/account/name", {"name": name}).status < 500
    assert house.state(mia) == before


def test_an_address_is_shown_as_it_is_and_not_run(house, visit):
    # Addresses are kept in lower case; run, it would be an error of a script.
    email = "x'onfocus='emberfault`9`'autofocus='@example.com"
    link = house.invitation(email)
    admin, guest = visit(house.admin, bypass_csp=True), visit(bypass_csp=True)
    shows(admin, "/dashboard/accounts", email)
    shows(guest, link, email)


ELSEWHERE = [
    "//evil.example",
    "https://evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "///evil.example",
    "/.//evil.example",
    "/dashboard/..//evil.example",
    "http:evil.example",
    "javascript:emberFault(1)",
    "data:text/html,evil",
    "evil.example",
    "@evil.example",
    "%2f%2fevil.example",
    "/dashboard\r\nset-cookie: evil=1",
]
LEADS_TO = "([place, base]) => { const url = new URL(place, base); return [url.origin, url.pathname]; }"


@pytest.mark.parametrize("place", ELSEWHERE, ids=ascii)
def test_signing_in_leads_nowhere_else(house, visit, mia, place):
    screen = visit()
    fresh, signed_in = Caller(house.url), mia.caller
    page = fresh.get(f"/sign-in?next={quote(place)}")
    answers = [
        fresh.sign_in(mia.email, PASSWORD, place),
        Caller(house.url).sign_in(mia.email, PASSWORD, page.document.value("next")),
        signed_in.get(f"/sign-in?next={quote(place)}"),
    ]
    for answer in answers:
        assert "evil" not in answer.headers.get("set-cookie", "").split("=")[0]
        if answer.status in range(300, 400):
            origin, path = screen.page.evaluate(LEADS_TO, [answer.location, house.url])
            assert origin == house.url and not path.startswith("//"), answer.location
    assert answers[0].status == 303


WANTED = ["/dashboard/keys", "/dashboard/keys?status=active&search=a%26b", "/dashboard/account"]


@pytest.mark.parametrize("place", WANTED)
def test_signing_in_leads_where_one_wanted_to_go(house, mia, place):
    visitor = Caller(house.url)
    sent = visitor.get(place)
    assert sent.status == 303 and sent.location.startswith("/sign-in?next=")
    wanted = visitor.get(sent.location).document.value("next")
    assert visitor.sign_in(mia.email, PASSWORD, wanted).location == place

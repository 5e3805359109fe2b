"""Law 2 in the browser: a key is shown once, and after that nothing a browser keeps can give it back."""

import threading

import pytest
from playwright.sync_api import Route

from caller import Caller
from house import House, Person, address
from screen import KEYS, SCRIPTS, Screen
from stack import KEY

FORM = {"name": "once", "environment": "dev", "scope": "all", "expiry": "never"}


def body(secret: str) -> str:
    """The part that is the secret: its prefix may be seen everywhere."""
    return secret.rsplit("_", 1)[1]


def gone(screen: Screen, secret: str) -> None:
    assert body(secret) not in screen.everything(), f"the key is still there at {screen.path}"


def issue(screen: Screen) -> str:
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    screen.send(KEYS, **FORM)
    secret = screen.secret()
    assert body(secret) not in screen.remembered(), "it is on the page, and in nothing that outlives the page"
    return secret


def goes_back_and_forth(screen: Screen, secret: str) -> None:
    """Every way back that a browser has."""
    for turn in (screen.back, screen.back, screen.forward, screen.forward):
        turn()
        gone(screen, secret)
    screen.page.reload()
    gone(screen, secret)


@SCRIPTS
def test_law_2_a_key_is_on_no_page_after_the_one_that_shows_it(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go("/dashboard")
    secret = issue(screen)
    screen.stored()
    screen.page.wait_for_url(f"**{KEYS}/key_*")
    gone(screen, secret)
    screen.page.reload()
    gone(screen, secret)
    goes_back_and_forth(screen, secret)
    key = house.keys(mia)[0]["id"]
    for path in (KEYS, f"{KEYS}/{key}", f"{KEYS}/{key}/rotate", f"{KEYS}/{key}/delete"):
        screen.go(path)
        gone(screen, secret)
        assert secret[-4:] in screen.everything(), "its end tells it from others"
    for path in (f"{KEYS}/{key}/edit", f"{KEYS}/new", "/dashboard"):
        screen.go(path)
        gone(screen, secret)


@SCRIPTS
def test_law_2_a_rotated_key_is_on_no_page_after_the_one_that_shows_it(house, visit, mia, has_script):
    key, screen = f"{KEYS}/{house.key(mia).id}", visit(mia, has_script)
    screen.go(KEYS)
    screen.go(key)
    screen.open(f"{key}/rotate")
    screen.send(f"{key}/rotate", grace="24h")
    secret = screen.secret()
    assert body(secret) not in screen.remembered()
    screen.stored()
    screen.arrives(key)
    gone(screen, secret)
    goes_back_and_forth(screen, secret)


@SCRIPTS
def test_law_2_walking_away_from_a_shown_key_and_back_does_not_show_it_again(visit, mia, has_script):
    screen = visit(mia, has_script)
    secret = issue(screen)
    screen.go("/dashboard")
    screen.back()
    gone(screen, secret)


def keep_pages(screen: Screen) -> None:
    """Makes the browser one that keeps pages for `back` although they say `no-store`, as some do."""

    def strip(route: Route) -> None:
        if route.request.resource_type != "document" or route.request.method != "GET":
            route.continue_()
            return
        answer = route.fetch(max_redirects=0)
        headers = {name: value for name, value in answer.headers.items() if name != "cache-control"}
        route.fulfill(response=answer, headers=headers)

    screen.page.route("**/*", strip)
    screen.page.add_init_script("addEventListener('pageshow', event => { window.emberKept = event.persisted; })")


def test_law_2_a_page_out_of_the_back_forward_cache_has_no_key_left(visit, mia):
    screen = visit(mia)
    keep_pages(screen)
    secret = issue(screen)
    screen.go("/dashboard")
    screen.back()
    gone(screen, secret)


def test_the_back_forward_cache_is_at_work_in_these_tests(visit, mia):
    screen = visit(mia)
    keep_pages(screen)
    screen.go("/dashboard/account")
    screen.page.evaluate("document.title = 'as it was left'")
    screen.go("/dashboard")
    screen.back()
    assert screen.page.evaluate("[window.emberKept, document.title]") == [True, "as it was left"]


def test_after_sign_out_the_way_back_shows_nothing(house, visit, mia):
    key, screen = house.key(mia, "seen before"), visit(mia)
    screen.go(f"{KEYS}/{key.id}")
    screen.sign_out()
    screen.page.wait_for_url("**/sign-in*")
    screen.back()
    screen.page.wait_for_url("**/sign-in*")
    assert key.name not in screen.everything()


@SCRIPTS
def test_sending_the_same_form_again_makes_no_second_key(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go(f"{KEYS}/new")
    screen.send(KEYS, **FORM)
    secret = screen.secret()
    screen.page.reload()
    gone(screen, secret)
    assert len(house.keys(mia)) == 1


def test_law_2_an_answer_sent_again_has_no_key(house, mia):
    form = filled(house, mia)
    first, second = mia.caller.post(KEYS, form), mia.caller.post(KEYS, form)
    assert first.status == 200 and KEY.search(first.text)
    assert second.status < 500 and not KEY.search(second.text)
    assert len(house.keys(mia)) == 1


def test_a_form_sent_twice_at_once_makes_one_key(house, mia):
    form = filled(house, mia)
    answers = []
    senders = [threading.Thread(target=lambda: answers.append(mia.caller.twin().post(KEYS, form))) for _ in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(20)
    assert [bool(KEY.search(answer.text)) for answer in answers].count(True) == 1
    assert len(answers) == 6 and len(house.keys(mia)) == 1


def test_a_rotation_sent_twice_rotates_once(house, mia):
    key = house.key(mia)
    path = f"{KEYS}/{key.id}/rotate"
    form = {"grace": "now", "once": mia.caller.get(path).document.value("once")}
    first, second = mia.caller.post(path, form), mia.caller.post(path, form)
    secret = KEY.search(first.text)
    assert secret and not KEY.search(second.text)
    assert [kept["last4"] for kept in house.show(key.id)["secrets"]] == [secret[0][-4:]]


def filled(house: House, person: Person) -> dict[str, str]:
    return FORM | {"once": person.caller.get(f"{KEYS}/new").document.value("once")}


@pytest.mark.parametrize("kind", ["invite", "reset"])
def test_a_link_works_once(house, mia, kind):
    link = house.invitation(address()) if kind == "invite" else house.reset(mia)
    visitor = Caller(house.url)
    ticket = visitor.get(link).document.value("ticket")
    form = {"ticket": ticket, "name": "Once", "password": "another good password"}
    assert ticket and visitor.post(f"/{kind}", form).status == 303
    late = Caller(house.url)
    assert not late.get(link).document.value("ticket")
    before = house.state()
    assert late.post(f"/{kind}", form | {"password": "yet another password"}).status != 303
    assert house.state() == before

"""Who may sign in, how guessing is stopped, and when a session begins and ends."""

import itertools
import statistics
import time
from http.cookies import SimpleCookie

import pytest

from caller import SESSION, Answer, Caller
from house import PASSWORD, House, Person, address
from markup import faceless
from views import NO_KEY

ACCOUNT = "/dashboard/account"
NEIGHBOURHOOD = itertools.count(1)


def elsewhere(house: House) -> Caller:
    """A visitor from an address of his own, so that what he is denied is denied to nobody else."""
    return Caller(house.url, f"127.0.{next(NEIGHBOURHOOD)}.1")


def timed(visitor: Caller, email: str, password: str) -> tuple[Answer, float]:
    visitor.token()
    begun = time.perf_counter()
    answer = visitor.sign_in(email, password)
    return answer, time.perf_counter() - begun


def test_an_unknown_address_and_a_wrong_password_can_not_be_told_apart(house):
    pages, seconds = {"known": set(), "unknown": set()}, {"known": [], "unknown": []}
    for _ in range(7):
        for kind, email in (("known", house.person().email), ("unknown", address())):
            answer, took = timed(elsewhere(house), email, "not the password")
            pages[kind].add((answer.status, faceless(answer.text).replace(email, "*")))
            seconds[kind].append(took)
    assert len(pages["known"]) == 1 and pages["known"] == pages["unknown"]
    ((status, _),) = pages["known"]
    assert 400 <= status < 500
    known, unknown = (statistics.median(seconds[kind]) for kind in ("known", "unknown"))
    assert max(known, unknown) < 3 * min(known, unknown), f"{known:.3f} s for a known one, {unknown:.3f} s for another"


def test_whoever_has_no_password_or_is_disabled_gets_the_same_page(house):
    bare, off = house.say("account", "create", address()), house.person()
    house.say("account", "disable", off.email)
    pages = set()
    for email in (bare["email"], off.email, address()):
        visitor = elsewhere(house)
        answer = visitor.sign_in(email, "wrong password")
        pages.add((answer.status, faceless(answer.text).replace(email, "*")))
        assert SESSION not in visitor.cookies
    assert len(pages) == 1


def test_a_disabled_account_can_not_sign_in(house):
    off, visitor = house.person(), elsewhere(house)
    house.say("account", "disable", off.email)
    assert visitor.sign_in(off.email, PASSWORD).status != 303 and not visitor.is_signed_in()


def test_guessing_is_stopped_and_the_owner_goes_on(house, mia):
    guesser = elsewhere(house)
    answers = []
    while len(answers) < 40 and not (answers and answers[-1].status == 429):
        answers.append(guesser.sign_in(mia.email, f"wrong password {len(answers)}"))
    stopped = answers[-1]
    assert stopped.status == 429, "40 guesses were let through"
    assert len(answers) > 3, "whoever mistypes twice is no guesser"
    assert int(stopped.headers["retry-after"]) > 0 and stopped.headers["content-type"].startswith("text/html")
    assert guesser.sign_in(mia.email, PASSWORD).status == 429, "or the 429 would tell that the guess was wrong"
    assert mia.caller.is_signed_in() and mia.caller.post(f"{ACCOUNT}/name", {"name": "Still here"}).status == 303
    assert house.member().sign_in().is_signed_in(), "nobody else is kept out"


def test_a_guesser_of_many_addresses_is_told_nothing_by_the_stop(house, mia):
    """A known and an unknown address are stopped after equally many guesses."""
    counts = []
    for email in (mia.email, address()):
        guesser, count = elsewhere(house), 0
        while count < 40 and guesser.sign_in(email, "wrong password").status != 429:
            count += 1
        counts.append(count)
    assert counts[0] == counts[1] < 40


def cookie_of(answer: Answer) -> tuple[str, dict[str, str]]:
    lines = [line for line in answer.headers.get_all("set-cookie") if line.startswith(f"{SESSION}=")]
    assert len(lines) == 1
    cookie = SimpleCookie(lines[0])[SESSION]
    return cookie.value, {name: value for name, value in cookie.items() if value}


def test_the_session_cookie_is_for_this_server_alone(house, mia):
    value, attributes = cookie_of(Caller(house.url).sign_in(mia.email, PASSWORD))
    assert len(value) >= 32 and value not in mia.caller.get(ACCOUNT).text
    assert (attributes["path"], attributes["httponly"], attributes["samesite"].lower()) == ("/", True, "lax")
    assert "domain" not in attributes and "secure" not in attributes, "plain HTTP, on this machine"


def test_a_session_begins_at_sign_in_with_a_new_secret(house, mia):
    planted = "planted-by-somebody-else-0123456789abcdef"
    victim, planter = Caller(house.url), Caller(house.url)
    victim.cookies[SESSION] = planter.cookies[SESSION] = planted
    secrets = {planted}
    for _ in range(2):
        assert victim.sign_in(mia.email, PASSWORD).status == 303 and victim.is_signed_in()
        secrets.add(victim.cookies[SESSION])
    assert len(secrets) == 3 and not planter.is_signed_in()


def test_signing_in_over_another_persons_session_does_not_open_it(house, mia):
    planter = house.member()
    victim = planter.caller.twin()
    victim.sign_in(mia.email, PASSWORD)
    assert mia.email not in planter.caller.get(ACCOUNT).text


@pytest.mark.parametrize("value", ["", "x", "0" * 43, "ember_session", "../../etc/passwd", "a" * 4000, "%00"])
def test_a_made_up_session_is_none(house, value):
    visitor = Caller(house.url)
    visitor.cookies[SESSION] = value
    answer = visitor.get(ACCOUNT)
    assert (answer.status, answer.location.split("?")[0]) == (303, "/sign-in")


def test_sign_out_ends_the_session_itself(mia):
    thief = mia.caller.twin()
    assert thief.is_signed_in() and mia.caller.post("/sign-out").status == 303
    assert SESSION not in mia.caller.cookies, "the browser forgets it"
    assert not thief.is_signed_in(), "and the server does"


def test_a_new_password_ends_all_other_sessions(mia):
    here, there = mia.caller, mia.sign_in()
    fields = {"current": PASSWORD, "password": "another good password"}
    assert here.post(f"{ACCOUNT}/password", fields).status == 303
    assert here.is_signed_in() and not there.is_signed_in()
    assert elsewhere_signs_in(mia, PASSWORD) is False and elsewhere_signs_in(mia, "another good password")


def elsewhere_signs_in(person: Person, password: str) -> bool:
    visitor = Caller(person.caller.url)
    visitor.sign_in(person.email, password)
    return SESSION in visitor.cookies and visitor.is_signed_in()


@pytest.mark.parametrize(
    "fields",
    [
        {"current": "not the password", "password": "another good password"},
        {"current": "", "password": "another good password"},
        {"current": PASSWORD, "password": "short"},
        {"current": PASSWORD, "password": ""},
    ],
    ids=["wrong", "none", "short", "empty"],
)
def test_a_password_is_not_changed_without_the_old_one_or_to_a_bad_one(mia, fields):
    there = mia.sign_in()
    answer = mia.caller.post(f"{ACCOUNT}/password", fields)
    assert 400 <= answer.status < 500
    assert not [password for password in fields.values() if password and password in answer.text], "nor shown again"
    assert there.is_signed_in() and elsewhere_signs_in(mia, PASSWORD)


def test_a_reset_ends_every_session(house, mia):
    link, visitor = house.reset(mia), Caller(house.url)
    there = mia.sign_in()
    ticket = visitor.get(link).document.value("ticket")
    assert mia.caller.is_signed_in() and there.is_signed_in(), "asking for it ends none"
    assert visitor.post("/reset", {"ticket": ticket, "password": "another good password"}).status == 303
    assert not mia.caller.is_signed_in() and not there.is_signed_in()
    assert not elsewhere_signs_in(mia, PASSWORD) and elsewhere_signs_in(mia, "another good password")


@pytest.mark.parametrize("verb", ["disable", "delete"])
def test_an_account_that_is_switched_off_is_signed_out(house, mia, verb):
    there = mia.sign_in()
    house.say("account", verb, mia.id)
    for caller in (mia.caller, there):
        answer = caller.get("/dashboard")
        assert (answer.status, answer.location.split("?")[0]) == (303, "/sign-in")
        assert caller.ask("POST", f"{ACCOUNT}/name", "name=Ghost", caller.honest()).status in (303, 403)


def test_one_session_and_all_others_are_ended_on_the_account_page(mia):
    def ends() -> set[str]:
        return set(mia.caller.get(ACCOUNT).document.actions(rf"({ACCOUNT}/sessions/\w+/end)"))

    before = ends()
    one = mia.sign_in()
    (path,) = ends() - before
    two = mia.sign_in()
    assert mia.caller.post(path).status == 303
    assert [caller.is_signed_in() for caller in (mia.caller, one, two)] == [True, False, True]
    assert mia.caller.post(f"{ACCOUNT}/sessions/end").status == 303
    assert [caller.is_signed_in() for caller in (mia.caller, two)] == [True, False]


PLACES = ["/dashboard", "/dashboard/keys", "/dashboard/keys/new", "/dashboard/account", "/dashboard/accounts"]
PLACES += ["/dashboard/models", "/dashboard/audit", f"/dashboard/keys/{NO_KEY}", "/dashboard/nowhere"]


@pytest.mark.parametrize("place", PLACES)
def test_whoever_is_signed_out_is_sent_to_sign_in_and_learns_nothing(house, place):
    answer = Caller(house.url).get(place)
    back = "" if place == "/dashboard" else "?next=%2Fdashboard"
    assert answer.status == 303 and answer.location.startswith(f"/sign-in{back}")


def test_the_front_door_leads_to_the_dashboard(house):
    answer = Caller(house.url).get("/")
    assert (answer.status, answer.location) == (303, "/dashboard")


def test_law_1_a_session_is_no_key_and_a_key_no_session(house, mia):
    key = house.key(mia)
    assert mia.caller.get("/v1/models").status == 401
    bearer = Caller(house.url).get("/dashboard/keys", authorization=f"Bearer {key.secret}")
    assert bearer.status == 303
    stranger = Caller(house.url)
    stranger.cookies[SESSION] = key.secret
    assert stranger.get("/dashboard/keys").status == 303

"""No other site can act for whoever is signed in: every form needs a token of this session and a request from here."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from acts import ACTS, Act, sign_up
from caller import FORM, SESSION, Answer, Caller
from house import House
from stack import KEY

# How a request is forged: the token it has, and the headers instead of an honest browser's.
Forgery = tuple[Callable[[House, Act], str | None], dict[str, str]]


def none(house: House, act: Act) -> None:
    return None


def own(house: House, act: Act) -> str:
    return act.caller.token()


def damaged(house: House, act: Act) -> str:
    token = act.caller.token()
    return ("B" if token[0] == "A" else "A") + token[1:]


def anothers(house: House, act: Act) -> str:
    other = house.member().caller if SESSION in act.caller.cookies else Caller(house.url)
    return other.token()


HERE = {"sec-fetch-site": "same-origin"}
FORGERIES: dict[str, Forgery] = {
    "no token": (none, {}),
    "empty token": (lambda house, act: "", {}),
    "damaged token": (damaged, {}),
    "another session's token": (anothers, {}),
    "foreign origin": (own, HERE | {"origin": "https://evil.example"}),
    "foreign origin, old browser": (own, {"origin": "https://evil.example", "sec-fetch-site": ""}),
    "origin of another port": (own, HERE | {"origin": "http://127.0.0.1:1"}),
    "origin of another scheme": (own, HERE | {"origin": "https://{host}"}),
    "no origin to speak of, old browser": (own, {"origin": "null", "sec-fetch-site": ""}),
    "cross-site": (own, {"sec-fetch-site": "cross-site"}),
}


def send(act: Act, token: str | None, headers: dict[str, str]) -> Answer:
    fields = act.fields if token is None else {"csrf": token} | act.fields
    headers = {name: value.format(host=act.caller.host) for name, value in headers.items()}
    return act.caller.ask("POST", act.path, urlencode(fields, doseq=True), FORM | act.caller.honest() | headers)


def refuses_all_forgeries(house: House, act: Act) -> None:
    tokens = {name: token(house, act) for name, (token, _) in FORGERIES.items()}
    before, session = house.state(*act.people), act.caller.cookies.get(SESSION)
    for name, (_, headers) in FORGERIES.items():
        answer = send(act, tokens[name], headers)
        assert answer.status == 403, f"{name}: answered {answer.status}"
        assert answer.headers["content-type"].startswith("text/html"), name
        is_untouched(house, act, answer, before, session, name)
    query = urlencode({"csrf": tokens["cross-site"]} | act.fields, doseq=True)
    answer = act.caller.get(f"{act.path}?{query}")
    is_untouched(house, act, answer, before, session, "GET")


def is_untouched(house: House, act: Act, answer: Answer, before: dict, session: str | None, forgery: str) -> None:
    assert answer.status < 500, forgery
    assert not KEY.search(answer.text) and f"{house.url}/reset/" not in answer.text, f"{forgery}: it gave a secret"
    assert act.caller.cookies.get(SESSION) == session, f"{forgery}: the session is another"
    assert house.state(*act.people) == before, forgery


def is_obeyed(house: House, act: Act) -> None:
    """The same request, honestly, does something: the refusals were not for another reason."""
    before, session = house.state(*act.people), act.caller.cookies.get(SESSION)
    answer = act.caller.post(act.path, act.fields)
    assert answer.status in (200, 303), f"the honest request was answered {answer.status}"
    changed = house.state(*act.people) != before or act.caller.cookies.get(SESSION) != session
    assert changed or f"{house.url}/reset/" in answer.text


@pytest.mark.parametrize("prepare", ACTS.values(), ids=ACTS)
def test_a_forged_form_is_refused_and_an_honest_one_obeyed(house, prepare):
    act = prepare(house)
    refuses_all_forgeries(house, act)
    is_obeyed(house, act)


def test_a_forged_sign_up_is_refused_and_an_honest_one_obeyed(open_house):
    act = sign_up(open_house)
    refuses_all_forgeries(open_house, act)
    is_obeyed(open_house, act)


def test_a_token_dies_with_its_session(house, mia):
    token = mia.caller.token()
    old = mia.caller.twin()
    mia.caller.post("/sign-out")
    mia.caller = mia.sign_in()
    act = Act(mia.caller, "/dashboard/account/name", {"name": "Changed"})
    assert send(act, token, {}).status == 403
    act.caller = old
    assert send(act, token, {}).status in (303, 403) and house.account(mia.id)["name"] == "Mia"


def test_a_form_that_is_no_form_is_refused(house, mia):
    before = house.state(mia)
    body = urlencode({"csrf": mia.caller.token(), "name": "Changed"})
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json", ""):
        headers = mia.caller.honest() | {"content-type": kind}
        answer = mia.caller.ask("POST", "/dashboard/account/name", body, headers)
        assert 400 <= answer.status < 500, f"{kind}: answered {answer.status}"
    assert house.state(mia) == before

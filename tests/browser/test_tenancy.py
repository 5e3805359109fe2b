"""One member can't see, touch or guess at what is another's: to him it is as if it were not there."""

import json
import re

import pytest

from acts import accept, sign_up
from caller import Answer
from house import House, Person
from markup import faceless
from views import ACCOUNTS, KEYS

NAMES = {"name": "hers"}
KEY_GETS = ["", "/edit", "/rotate", "/delete"]
KEY_POSTS = {
    "/edit": {"name": "his", "scope": "all", "expiry": "never", "limit_requests_per_minute": "1"},
    "/rotate": {"grace": "now", "once": "{once}"},
    "/disable": {},
    "/enable": {},
    "/delete": NAMES,
}
# Administrators' routes about an account or an invitation; `{id}` is what is tried.
ADMIN_GETS = [
    ACCOUNTS,
    f"{ACCOUNTS}/new",
    f"{ACCOUNTS}/invite",
    f"{ACCOUNTS}/{{account}}",
    f"{ACCOUNTS}/{{account}}/edit",
    f"{ACCOUNTS}/{{account}}/delete",
    "/dashboard/models",
    "/dashboard/audit",
]
ADMIN_POSTS = {
    ACCOUNTS: {"email": "his-friend@example.com", "name": "Friend", "role": "admin"},
    f"{ACCOUNTS}/invite": {"email": "his-friend@example.com", "role": "admin", "expiry": "7d"},
    f"{ACCOUNTS}/{{account}}/edit": {"name": "His", "limit_tokens_per_day": "1"},
    f"{ACCOUNTS}/{{account}}/disable": {},
    f"{ACCOUNTS}/{{account}}/enable": {},
    f"{ACCOUNTS}/{{account}}/reset": {},
    f"{ACCOUNTS}/{{account}}/sign-out": {},
    f"{ACCOUNTS}/{{account}}/delete": {"email": "{email}"},
    "/dashboard/invites/{invite}/revoke": {},
}
# What a request of the admin API needs to be judged at all, where that is something.
BODIES = {
    "POST /admin/v1/accounts": {"email": "his-friend@example.com", "role": "admin"},
    "PATCH /admin/v1/accounts/{account}": {"name": "His"},
    "POST /admin/v1/accounts/{account}/password": {"password": "correct horse battery staple"},
    "POST /admin/v1/invites": {"email": "his-friend@example.com", "role": "admin"},
    "POST /admin/v1/tokens": {"name": "his"},
    "POST /admin/v1/keys": {"account": "{email}", "name": "his", "environment": "dev"},
    "PATCH /admin/v1/keys/{key}": {"name": "his"},
    "POST /admin/v1/keys/{key}/rotate": {"now": True},
    "POST /admin/v1/keys/verify": {"key": "{secret}"},
}
# What a member may ask for, about what is his own.
OWN = {"POST /admin/v1/keys/verify", "GET /admin/v1/keys", "GET /admin/v1/usage", "GET /admin/v1/usage/report"}


class Neighbours:
    """He tries what is hers; `hers` and `nobodys` fill in the same places of a path."""

    def __init__(self, house: House, elsewhere: House):
        self.house, self.he, self.she = house, house.member("He"), house.member("She")
        self.own = house.key(self.he, "his")
        key = house.key(self.she, "hers")
        session = other_session(self.she)
        house.invitation("hers@example.com")
        invite = house.admin.caller.get(ACCOUNTS).document.actions(r"/dashboard/invites/(\w+)/revoke")[0]
        self.hers = {"key": key.id, "session": session, "account": self.she.id, "invite": invite}
        self.hers["email"] = self.she.email
        self.nobodys = {name: another(value) for name, value in self.hers.items() if name != "email"}
        self.nobodys["email"] = "no-one@example.com"
        self.hers["secret"] = key.secret
        self.nobodys["secret"] = elsewhere.key(elsewhere.admin).secret
        self.both = (self.hers, self.nobodys)
        self.before = house.state(self.he, self.she)

    def get(self, path: str, places: dict[str, str]) -> Answer:
        return self.he.caller.get(path.format(**places))

    def post(self, path: str, fields: dict[str, str], places: dict[str, str]) -> Answer:
        once = self.he.caller.get(f"{KEYS}/{self.own.id}/rotate").document.value("once")
        filled = {name: value.format(**places, once=once) for name, value in fields.items()}
        return self.he.caller.post(path.format(**places), filled)

    def told(self, method: str, path: str, body: dict[str, str], places: dict[str, str]) -> tuple[int, str]:
        """What a request of the admin API is answered, but for what it named itself."""
        filled = path.format(**{"token": "tok_01kaspw4g0000000000000000a", "upstream": "echo"} | places)
        fields = {name: value.format(**places) if isinstance(value, str) else value for name, value in body.items()}
        answer = self.he.caller.program(method, filled, json.dumps(fields))
        return answer.status, without(places, answer.text)

    def unchanged(self) -> bool:
        return self.house.state(self.he, self.she) == self.before


def other_session(person: Person) -> str:
    """The id of one more session of hers, which goes on."""

    def ends() -> list[str]:
        return person.caller.get("/dashboard/account").document.actions(r"/dashboard/account/sessions/(\w+)/end")

    before = ends()
    person.sign_in()
    return next(session for session in ends() if session not in before)


def another(id: str) -> str:
    """An id of the same kind that nothing has: the last digits are random in all ids."""
    return id[:-6] + "".join("0" if digit != "0" else "1" for digit in id[-6:])


@pytest.fixture(scope="module")
def neighbours(house, open_house) -> Neighbours:
    return Neighbours(house, open_house)


def is_as_if_absent(hers: Answer, nobodys: Answer, neighbours: Neighbours) -> None:
    assert hers.status == nobodys.status
    texts = [faceless(answer.text) for answer in (hers, nobodys)]
    assert texts[0] == texts[1]
    assert neighbours.she.email not in hers.text.replace("hers@example.com", "") and neighbours.unchanged()


@pytest.mark.parametrize("verb", KEY_GETS, ids=lambda verb: verb or "/")
def test_her_key_is_not_there_for_him(neighbours, verb):
    path = f"{KEYS}/{{key}}{verb}"
    hers, nobodys = (neighbours.get(path, places) for places in (neighbours.hers, neighbours.nobodys))
    assert hers.status == 404
    is_as_if_absent(hers, nobodys, neighbours)
    assert neighbours.she.caller.get(path.format(**neighbours.hers)).status == 200, "for her it is"


@pytest.mark.parametrize(("verb", "fields"), KEY_POSTS.items(), ids=KEY_POSTS)
def test_he_can_do_nothing_to_her_key(neighbours, verb, fields):
    path = f"{KEYS}/{{key}}{verb}"
    hers, nobodys = (neighbours.post(path, fields, places) for places in (neighbours.hers, neighbours.nobodys))
    assert hers.status == 404
    is_as_if_absent(hers, nobodys, neighbours)


def test_he_can_not_end_her_session(neighbours):
    path = "/dashboard/account/sessions/{session}/end"
    hers, nobodys = (neighbours.post(path, {}, places) for places in (neighbours.hers, neighbours.nobodys))
    is_as_if_absent(hers, nobodys, neighbours)


@pytest.mark.parametrize("path", ADMIN_GETS)
def test_a_page_for_administrators_is_not_there_for_him(neighbours, path):
    hers, nobodys = (neighbours.get(path, places) for places in (neighbours.hers, neighbours.nobodys))
    assert hers.status == 404
    is_as_if_absent(hers, nobodys, neighbours)
    nowhere = neighbours.he.caller.get("/dashboard/nowhere")
    assert (hers.status, faceless(hers.text)) == (nowhere.status, faceless(nowhere.text)), "nor does it exist"
    assert neighbours.house.admin.caller.get(path.format(**neighbours.hers)).status == 200, "for them it is"


@pytest.mark.parametrize(("path", "fields"), ADMIN_POSTS.items(), ids=ADMIN_POSTS)
def test_he_can_do_nothing_that_administrators_do(neighbours, path, fields):
    hers, nobodys = (neighbours.post(path, fields, places) for places in (neighbours.hers, neighbours.nobodys))
    assert hers.status == 404
    is_as_if_absent(hers, nobodys, neighbours)


def requests_of_the_admin_api(neighbours: Neighbours) -> list[tuple[str, str]]:
    described = json.loads(neighbours.he.caller.get("/admin/openapi.json").text)["paths"]
    verbs = ("get", "post", "patch", "put", "delete")
    return [(verb.upper(), path) for path, operations in described.items() for verb in operations if verb in verbs]


def test_no_request_of_the_admin_api_reaches_what_is_hers(neighbours):
    asked = requests_of_the_admin_api(neighbours)
    assert len(asked) > 40 and BODIES.keys() | OWN <= {" ".join(one) for one in asked}
    for method, path in asked:
        what = f"{method} {path}"
        # What may be asked for of one account, of hers.
        for query in ("", "?account={email}") if method == "GET" and what in OWN else ("",):
            told = [neighbours.told(method, path + query, BODIES.get(what, {}), places) for places in neighbours.both]
            assert told[0] == told[1], f"{what} tells hers from nobody's"
            status, text = told[1]
            assert not [value for value in neighbours.hers.values() if value in text], f"{what} told {text}"
            assert "forged" not in text, "he was not judged"
            assert what in OWN or status in (403, 404), f"{what} answered {status}"
    assert neighbours.unchanged()


def without(places: dict[str, str], text: str) -> str:
    """What an answer says but for what the request itself named, and when it was made."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<then>", text)
    for name, value in places.items():
        text = text.replace(value, f"<{name}>")
    return text


@pytest.mark.parametrize("account", ["all", "{account}", "{email}"])
def test_no_filter_shows_him_her_keys(neighbours, account):
    places = [neighbours.hers, neighbours.nobodys]
    hers, nobodys = (neighbours.get(f"{KEYS}?account={account}".format(**place), place) for place in places)
    assert neighbours.hers["key"] not in hers.text and hers.status == nobodys.status
    searched = neighbours.get(f"{KEYS}?search=hers", {})
    assert neighbours.hers["key"] not in searched.text


def test_his_pages_name_nothing_of_hers(neighbours):
    for path in ("/dashboard", KEYS, "/dashboard/account"):
        text = neighbours.get(path, {}).text
        assert not [secret for secret in neighbours.hers.values() if secret in text], path
        assert ACCOUNTS not in text and "/dashboard/audit" not in text, "nor has he their navigation"


NO_IDS = ["key_", "key_0", "zzz", "key_01kaspw4g0000000000000000a.x"]
NO_IDS += ["KEY_01KASPW4G0000000000000000A", "evt_01kaspw4g0000000000000000a"]


@pytest.mark.parametrize("id", NO_IDS)
def test_an_id_that_is_none_is_not_found(neighbours, id):
    for path in (f"{KEYS}/{id}", f"{KEYS}/{id}/edit", f"{ACCOUNTS}/{id}"):
        assert neighbours.get(path, {}).status in (400, 404)


def test_a_role_sent_along_makes_nobody_an_administrator(house, open_house):
    for at, act in ((house, accept(house)), (open_house, sign_up(open_house))):
        act.fields |= {"role": "admin", "is_admin": "true"}
        act.caller.post(act.path, act.fields)
        assert act.caller.get(ACCOUNTS).status in (303, 404)
        roles = {account["role"] for account in at.say("account", "list")["data"] if account["id"] != at.admin.id}
        assert roles == {"member"}


def test_the_address_of_an_invitation_can_not_be_changed(house):
    act = accept(house)
    act.fields |= {"email": "someone-else@example.com"}
    act.caller.post(act.path, act.fields)
    assert "someone-else@example.com" not in [account["email"] for account in house.say("account", "list")["data"]]

"""Owns the list of all forms that a visitor may send, each ready to be sent once. Knows nothing of what is asserted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from caller import Caller, Fields
from house import PASSWORD, House, Person, address

NEW_PASSWORD = "another good password"
KEYS, ACCOUNT, ACCOUNTS = "/dashboard/keys", "/dashboard/account", "/dashboard/accounts"


@dataclass
class Act:
    """`caller` sends `fields` to `path`, which changes something about `people`, or makes what is not there yet."""

    caller: Caller
    path: str
    fields: Fields = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)


def sign_in(house: House) -> Act:
    mia = house.member()
    return Act(Caller(house.url), "/sign-in", {"email": mia.email, "password": PASSWORD, "next": ""}, [mia])


def sign_out(house: House) -> Act:
    mia = house.member()
    return Act(mia.caller, "/sign-out", {}, [mia])


def accept(house: House) -> Act:
    visitor = Caller(house.url)
    ticket = visitor.get(house.invitation(address())).document.value("ticket")
    return Act(visitor, "/invite", {"ticket": ticket, "name": "Ines", "password": PASSWORD})


def reset(house: House) -> Act:
    mia, visitor = house.member(), Caller(house.url)
    ticket = visitor.get(house.reset(mia)).document.value("ticket")
    return Act(visitor, "/reset", {"ticket": ticket, "password": NEW_PASSWORD}, [mia])


def create(house: House) -> Act:
    mia = house.member()
    once = mia.caller.get(f"{KEYS}/new").document.value("once")
    fields = {"name": "made", "environment": "dev", "scope": "all", "expiry": "never", "once": once}
    return Act(mia.caller, KEYS, fields, [mia])


def on_key(verb: str, **fields: str) -> Callable[[House], Act]:
    def act(house: House) -> Act:
        mia = house.member()
        key = house.key(mia, "target")
        path = f"{KEYS}/{key.id}/{verb}"
        if verb == "enable":
            house.say("key", "disable", key.id)
        once = {"once": mia.caller.get(path).document.value("once")} if verb == "rotate" else {}
        return Act(mia.caller, path, fields | once, [mia])

    return act


def on_self(verb: str, **fields: str) -> Callable[[House], Act]:
    def act(house: House) -> Act:
        mia = house.member()
        mia.sign_in()
        return Act(mia.caller, f"{ACCOUNT}/{verb}", dict(fields), [mia])

    return act


def end_session(house: House) -> Act:
    mia = house.member()

    def ends() -> set[str]:
        return set(mia.caller.get(ACCOUNT).document.actions(rf"{ACCOUNT}/sessions/(\w+)/end"))

    before = ends()
    mia.sign_in()
    (other,) = ends() - before
    return Act(mia.caller, f"{ACCOUNT}/sessions/{other}/end", {}, [mia])


def make_account(house: House) -> Act:
    return Act(house.admin.caller, ACCOUNTS, {"email": address(), "name": "Nora", "role": "member"}, [house.admin])


def invite(house: House) -> Act:
    once = house.admin.caller.get(f"{ACCOUNTS}/invite").document.value("once")
    fields = {"email": address(), "role": "member", "expiry": "7d", "once": once}
    return Act(house.admin.caller, f"{ACCOUNTS}/invite", fields, [house.admin])


def revoke_invite(house: House) -> Act:
    def waiting() -> set[str]:
        return set(house.admin.caller.get(ACCOUNTS).document.actions(r"/dashboard/invites/(\w+)/revoke"))

    before = waiting()
    house.invitation(address())
    (made,) = waiting() - before
    return Act(house.admin.caller, f"/dashboard/invites/{made}/revoke", {}, [house.admin])


def on_account(verb: str, **given: str) -> Callable[[House], Act]:
    def act(house: House) -> Act:
        mia = house.member()
        if verb == "enable":
            house.say("account", "disable", mia.id)
        fields = given | ({"email": mia.email} if verb == "delete" else {})
        if verb == "reset":
            fields = {"once": house.admin.caller.get(f"{ACCOUNTS}/{mia.id}").document.value("once")}
        return Act(house.admin.caller, f"{ACCOUNTS}/{mia.id}/{verb}", fields, [mia, house.admin])

    return act


# By route; each makes what it needs.
ACTS: dict[str, Callable[[House], Act]] = {
    "sign-in": sign_in,
    "sign-out": sign_out,
    "invite": accept,
    "reset": reset,
    "keys": create,
    "keys-edit": on_key("edit", name="changed", scope="all", expiry="30d"),
    "keys-rotate": on_key("rotate", grace="now"),
    "keys-disable": on_key("disable"),
    "keys-enable": on_key("enable"),
    "keys-delete": on_key("delete", name="target"),
    "account-name": on_self("name", name="Changed"),
    "account-password": on_self("password", current=PASSWORD, password=NEW_PASSWORD),
    "account-theme": on_self("theme", theme="dark"),
    "account-sessions-end": on_self("sessions/end"),
    "account-session-end": end_session,
    "accounts": make_account,
    "accounts-invite": invite,
    "invites-revoke": revoke_invite,
    "accounts-edit": on_account("edit", name="Changed", limit_tokens_per_day="5k"),
    "accounts-disable": on_account("disable"),
    "accounts-enable": on_account("enable"),
    "accounts-reset": on_account("reset"),
    "accounts-sign-out": on_account("sign-out"),
    "accounts-delete": on_account("delete"),
}


def sign_up(house: House) -> Act:
    fields = {"email": address(), "name": "Una", "password": PASSWORD}
    return Act(Caller(house.url), "/sign-up", fields)

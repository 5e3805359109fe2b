"""Owns the list of all that can be seen of the dashboard: pages, what they answer, dialogs. Knows nothing of what is
asserted about them."""

from collections.abc import Callable
from typing import NamedTuple

from house import SERIAL, House, Person, address
from screen import Screen

NO_KEY = "key_01kaspw4g0000000000000000a"


class Furnished(NamedTuple):
    """A house with something of every kind in it. `places` fills in the paths of views."""

    house: House
    people: dict[str, Person | None]
    places: dict[str, str]


class View(NamedTuple):
    """`act` is done on the page at `path` to come to what is meant; `status` is that path's, where it is fixed."""

    name: str
    who: str
    path: str
    act: Callable[[Screen, dict[str, str]], None] = lambda screen, places: None
    status: int | None = 200

    def show(self, screen: Screen, furnished: Furnished) -> None:
        screen.go(self.path.format(**furnished.places))
        self.act(screen, furnished.places)


def furnish(house: House) -> Furnished:
    mia, newcomer, gone = house.member(), house.member("Nobody's-key-yet"), house.member()
    key = house.key(mia, "a-name-of-sixty-four-characters-with-no-space-for-any-line-break", "--env=prod")
    house.key(mia, "translator", "--env=staging", "--expires=90d", "--models=ember/test")
    limits = ["--routes=models,embeddings", "--addresses=10.0.0.0/8,2001:db8::/32", "--rpm=60", "--tokens-per-month=2M"]
    limited = house.key(mia, "with-limits", "--allow-browser", "--weight=3", *limits)
    off, revoked = house.key(mia), house.key(mia)
    for issued in [key, key, revoked]:
        message = [{"role": "user", "content": "count me"}]
        house.sdk(issued.secret).chat.completions.create(model="ember-echo", messages=message)
    house.say("key", "disable", off.id)
    house.say("key", "revoke", revoked.id, "--reason", "leaked in a notebook")
    house.say("account", "disable", gone.email)
    places = {
        "key": key.id,
        "key_limited": limited.id,
        "key_off": off.id,
        "key_revoked": revoked.id,
        "mia": mia.id,
        "gone": gone.id,
        "newcomer": newcomer.id,
        "invite": house.invitation(f"a-rather-long-name-for-an-address-{next(SERIAL)}@subdomain.example.com"),
        "reset": house.reset(newcomer),
    }
    return Furnished(house, {"nobody": None, "mia": mia, "newcomer": newcomer, "admin": house.admin}, places)


def opens(href: str) -> Callable[[Screen, dict[str, str]], None]:
    return lambda screen, places: screen.open(href.format(**places)).is_visible()


def fails_to_sign_in(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/sign-in", email="nobody@example.com", password="not the password")
    screen.main.get_by_role("alert").wait_for()


def issues(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/dashboard/keys", name="one more")
    screen.secret()


def rotates(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/dashboard/keys/{key}/rotate".format(**places), grace="now")
    screen.secret()


def opens_and_issues(screen: Screen, places: dict[str, str]) -> None:
    screen.open("/dashboard/keys/new")
    issues(screen, places)


def invites(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/dashboard/accounts/invite", email=address())
    screen.link()


def makes_account(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/dashboard/accounts", email=address(), name="Made by hand")
    screen.link()


def is_refused_limits(screen: Screen, places: dict[str, str]) -> None:
    path = "/dashboard/keys/{key_limited}/edit".format(**places)
    screen.send(path, addresses="10.0.0.0/8\nexample.com", limit_tokens_per_day="five", weight="1000")
    screen.main.get_by_role("alert").wait_for()


def is_refused_a_name(screen: Screen, places: dict[str, str]) -> None:
    screen.send("/dashboard/keys", name="two\u2028lines")
    screen.main.get_by_role("alert").wait_for()


KEYS, KEY = "/dashboard/keys", "/dashboard/keys/{key}"
ACCOUNTS, MIA = "/dashboard/accounts", "/dashboard/accounts/{mia}"

# Pages that a GET shows.
PAGES = [
    View("sign-in", "nobody", "/sign-in"),
    View("sign-up-by-invitation", "nobody", "/sign-up"),
    View("invite", "nobody", "{invite}"),
    View("invite-unknown", "nobody", "/invite/0000000000000000", status=None),
    View("reset", "nobody", "{reset}"),
    View("reset-unknown", "nobody", "/reset/0000000000000000", status=None),
    View("overview", "mia", "/dashboard"),
    View("overview-first-steps", "newcomer", "/dashboard"),
    View("overview-of-all", "admin", "/dashboard"),
    View("keys", "mia", KEYS),
    View("keys-none", "newcomer", KEYS),
    View("keys-none-fit", "mia", f"{KEYS}?search=zzzz&environment=prod&sort=name"),
    View("keys-of-all", "admin", f"{KEYS}?account=all"),
    View("key-new", "mia", f"{KEYS}/new"),
    View("key", "mia", KEY),
    View("key-limited", "mia", f"{KEYS}/{{key_limited}}"),
    View("key-disabled", "mia", f"{KEYS}/{{key_off}}"),
    View("key-revoked", "mia", f"{KEYS}/{{key_revoked}}"),
    View("key-edit", "mia", f"{KEY}/edit"),
    View("key-edit-limits", "admin", f"{KEYS}/{{key_limited}}/edit"),
    View("key-rotate", "mia", f"{KEY}/rotate"),
    View("key-delete", "mia", f"{KEY}/delete"),
    View("key-unknown", "mia", f"{KEYS}/{NO_KEY}", status=404),
    View("usage", "mia", "/dashboard/usage"),
    View("usage-by-hour", "mia", "/dashboard/usage?range=24h&by=model&show=requests"),
    View("usage-none", "newcomer", "/dashboard/usage"),
    View("usage-of-all", "admin", "/dashboard/usage?range=90d&by=account"),
    View("my-account", "mia", "/dashboard/account"),
    View("accounts", "admin", ACCOUNTS),
    View("account-new", "admin", f"{ACCOUNTS}/new"),
    View("invite-new", "admin", f"{ACCOUNTS}/invite"),
    View("account", "admin", MIA),
    View("account-edit", "admin", f"{MIA}/edit"),
    View("account-disabled", "admin", f"{ACCOUNTS}/{{gone}}"),
    View("account-delete", "admin", f"{MIA}/delete"),
    View("models", "admin", "/dashboard/models"),
    View("audit", "admin", "/dashboard/audit"),
    View("audit-none-fit", "admin", "/dashboard/audit?search=zzzz"),
    View("not-for-members", "mia", ACCOUNTS, status=404),
    View("nowhere", "mia", "/dashboard/nowhere", status=404),
]
# What an action shows.
ANSWERS = [
    View("sign-in-refused", "nobody", "/sign-in", fails_to_sign_in),
    View("key-refused", "mia", f"{KEYS}/new", is_refused_a_name),
    View("key-limits-refused", "admin", f"{KEYS}/{{key_limited}}/edit", is_refused_limits),
    View("key-issued", "mia", f"{KEYS}/new", issues),
    View("key-rotated", "mia", f"{KEY}/rotate", rotates),
    View("invited", "admin", f"{ACCOUNTS}/invite", invites),
    View("account-made", "admin", f"{ACCOUNTS}/new", makes_account),
]
DIALOGS = [
    View("dialog-key-new", "mia", KEYS, opens(f"{KEYS}/new")),
    View("dialog-key-issued", "mia", KEYS, opens_and_issues),
    View("dialog-key-edit", "mia", KEY, opens(f"{KEY}/edit")),
    View("dialog-key-rotate", "mia", KEY, opens(f"{KEY}/rotate")),
    View("dialog-key-delete", "mia", KEY, opens(f"{KEY}/delete")),
    View("dialog-account-new", "admin", ACCOUNTS, opens(f"{ACCOUNTS}/new")),
    View("dialog-invite-new", "admin", ACCOUNTS, opens(f"{ACCOUNTS}/invite")),
    View("dialog-account-edit", "admin", MIA, opens(f"{MIA}/edit")),
    View("dialog-account-delete", "admin", MIA, opens(f"{MIA}/delete")),
]
VIEWS = PAGES + ANSWERS + DIALOGS
# On these pages with these links must dialogs open.
DIALOG_LINKS = {KEYS: [f"{KEYS}/new"], KEY: [f"{KEY}/edit", f"{KEY}/rotate", f"{KEY}/delete"]}

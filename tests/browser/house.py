"""Owns who lives behind a dashboard under test: people, signed in through their invitations, and their keys.
What it knows of Ember's state it asks the command line. Knows nothing of browsers."""

import itertools
import json
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openai

from caller import SESSION, Caller
from stack import Ember

PASSWORD = "correct horse battery staple"
SERIAL = itertools.count(1)


@dataclass
class Person:
    id: str
    email: str
    name: str
    caller: Caller
    password: str = PASSWORD

    def sign_in(self) -> Caller:
        """One more browser of this person's."""
        caller = Caller(self.caller.url)
        answer = caller.sign_in(self.email, self.password)
        assert (answer.status, SESSION in caller.cookies) == (303, True), f"sign-in answered {answer.status}"
        return caller


class Issued(NamedTuple):
    id: str
    name: str
    secret: str


class House:
    def __init__(self, ember: Ember):
        self.ember, self.url = ember, ember.url
        self.admin = self.person(role="--admin")

    def say(self, *words: str, stdin: str = "") -> dict[str, Any]:
        """Runs a command; its document."""
        return json.loads(self.ember.cli("-y", "-o", "json", *words, stdin=stdin))

    def person(self, name: str = "", role: str = "") -> Person:
        """Somebody with a password, made on the machine and signed in."""
        email = address()
        words = ["account", "create", email, "--password-stdin", *([role] if role else [])]
        made = self.say(*words, *([f"--name={name}"] if name else []), stdin=f"{PASSWORD}\n")
        person = Person(made["id"], email, name or email, Caller(self.url))
        person.caller = person.sign_in()
        return person

    def invitation(self, email: str) -> str:
        """The path of a new invitation's link."""
        return path_of(self.ember.cli("invite", "create", email))

    def reset(self, person: Person) -> str:
        """The path of a link to a new password."""
        return path_of(self.ember.cli("account", "reset", person.email))

    def member(self, name: str = "Mia") -> Person:
        """Somebody who came by invitation."""
        email, caller = address(), Caller(self.url)
        page = caller.get(self.invitation(email))
        assert page.status == 200, f"the invitation's page has status {page.status}"
        fields = {"ticket": page.document.value("ticket"), "name": name, "password": PASSWORD}
        answer = caller.post("/invite", fields)
        assert (answer.status, SESSION in caller.cookies) == (303, True), f"/invite answered {answer.status}"
        return Person(self.account(email)["id"], email, name, caller)

    def key(self, person: Person, name: str = "", *options: str) -> Issued:
        name = name or f"app-{next(SERIAL)}"
        made = self.say("key", "create", f"--account={person.email}", f"--name={name}", *options)
        return Issued(made["id"], name, made["key"])

    def show(self, key: str) -> dict[str, Any]:
        return self.say("key", "show", key)

    def keys(self, person: Person) -> list[dict[str, Any]]:
        return self.say("key", "list", f"--account={person.email}")["data"]

    def account(self, account: str) -> dict[str, Any]:
        return self.say("account", "show", account)

    def sdk(self, secret: str) -> openai.OpenAI:
        """The SDK as an application has it; without retries, so that a test sees the first answer."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=secret, max_retries=0, timeout=20)

    def state(self, *people: Person) -> dict[str, Any]:
        """All that an action may change: accounts, keys and invitations; of these people, history and browsers."""
        invites = self.admin.caller.get("/dashboard/accounts").document.actions(r"/dashboard/invites/(\w+)/revoke")
        return {
            "accounts": self.say("account", "list")["data"],
            "keys": self.say("key", "list")["data"],
            "invites": sorted(invites),
            "people": [self._traits(person) for person in people],
        }

    def _traits(self, person: Person) -> dict[str, Any]:
        page = person.caller.get("/dashboard/account")
        is_there = person.id in [account["id"] for account in self.say("account", "list")["data"]]
        return {
            "account": self.account(person.id) if is_there else None,
            "theme": page.document.chosen("theme"),
            "sessions": sorted(page.document.actions(r"/dashboard/account/sessions/(\w+)/end")),
            "signed in": page.status == 200,
        }


def address() -> str:
    return f"person-{next(SERIAL)}@example.com"


def path_of(said: str) -> str:
    """A link's path; piped, the commands that make one say it alone."""
    link = said.removesuffix("\n")
    is_alone = link.startswith("http") and not set(link) & {" ", "\n"}
    assert is_alone, f"not a link alone: {len(said)} characters on stdout"
    return urlsplit(link).path

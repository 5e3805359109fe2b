"""Owns that what keys and accounts may use is set, seen and taken back on the dashboard, with scripts and without."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from screen import KEYS, SCRIPTS, Screen

ACCOUNTS = "/dashboard/accounts"
# What `house` has under [limits.key].
TOKENS_PER_DAY = 5_000_000
LIMITS = {
    "routes": "only",
    "route": ["models", "chat/completions"],
    "addresses": "10.1.2.3/8\n\n  2001:db8::1  ",
    "limit_requests_per_minute": "60",
    "limit_tokens_per_day": "10k",
    "allow_browser": "yes",
}
POLICY = {
    "routes": ["models", "chat/completions"],
    "addresses": ["10.0.0.0/8", "2001:db8::1"],
    "limits": {"requests_per_minute": 60, "tokens_per_day": 10_000},
    "allow_browser": True,
}


def policy(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in POLICY}


def section(screen: Screen) -> Locator:
    return screen.panel.locator("details.more")


def unfold(screen: Screen) -> None:
    assert section(screen).get_attribute("open") is None, "it is closed as long as there is nothing in it"
    section(screen).locator("summary").click()


def untick(screen: Screen, name: str) -> None:
    box = screen.panel.locator(f'input[name="{name}"]')
    box.locator("xpath=ancestor::label").click()
    expect(box).not_to_be_checked()


def saved(screen: Screen, path: str) -> None:
    """The page is there that comes after the form, be that on a page of its own or in a dialog on this one."""
    screen.arrives(path)
    expect(screen.dialog).to_have_count(0)


def values(screen: Screen, action: str) -> dict[str, str]:
    fields = screen.form(action).locator('textarea, input[name^="limit_"]')
    return dict(fields.evaluate_all("all => all.map(one => [one.name, one.value])"))


@SCRIPTS
def test_limits_are_set_shown_changed_and_cleared(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    unfold(screen)
    screen.send(KEYS, name="limited", environment="dev", **LIMITS)
    screen.secret()
    key = house.keys(mia)[0]["id"]
    assert policy(house.show(key)) == POLICY

    screen.go(f"{KEYS}/{key}")
    for label, text in (("Requests per minute", "60"), ("Tokens per day", "10,000"), ("Use from web pages", "Allowed")):
        expect(screen.fact(label)).to_have_text(text)
    expect(screen.fact("Addresses")).to_contain_text("10.0.0.0/8")

    edit = f"{KEYS}/{key}/edit"
    screen.open(edit)
    assert section(screen).get_attribute("open") is not None, "it is open when there is something in it"
    assert values(screen, edit)["limit_tokens_per_day"] == "10k"
    screen.send(edit, limit_tokens_per_day="20k")
    saved(screen, f"{KEYS}/{key}")
    assert policy(house.show(key)) == POLICY | {"limits": {"requests_per_minute": 60, "tokens_per_day": 20_000}}

    screen.open(edit)
    untick(screen, "allow_browser")
    empty = dict.fromkeys(values(screen, edit), "")
    screen.send(edit, routes="all", **empty)
    saved(screen, f"{KEYS}/{key}")
    assert policy(house.show(key)) == {"routes": None, "addresses": None, "limits": {}, "allow_browser": False}
    expect(screen.fact("Tokens per day")).to_have_text("5,000,000 default")
    expect(screen.fact("Requests per minute")).to_have_count(0)


BAD = {
    "limit_tokens_per_day": ("5 million", "Tokens per day", "'5 million'"),
    "limit_concurrent_requests": ("0", "Requests at once", "disable"),
    "addresses": ("10.0.0.0/8\nlocalhost", "Addresses", "'localhost'"),
}


@SCRIPTS
@pytest.mark.parametrize(("field", "typed", "label", "quoted"), [(name, *bad) for name, bad in BAD.items()], ids=BAD)
def test_bad_input_is_kept_and_its_field_named(house, visit, mia, has_script, field, typed, label, quoted):
    screen = visit(mia, has_script)
    screen.go(f"{KEYS}/new")
    unfold(screen)
    good = {name: value for name, value in LIMITS.items() if name != field}
    screen.send(KEYS, name="wrong", environment="staging", scope="only", model=["ember-echo"], **good, **{field: typed})
    alert = screen.panel.get_by_role("alert")
    expect(alert).to_contain_text(f"{label}: ")
    expect(alert).to_contain_text(quoted)
    at_fault = screen.panel.locator("[aria-invalid]")
    expect(at_fault).to_have_count(1)
    expect(at_fault).to_have_attribute("name", field)
    expect(at_fault).to_be_visible()
    expect(at_fault).to_have_accessible_description(re.compile(re.escape(quoted)))
    kept = values(screen, KEYS)
    assert kept[field] == typed and kept["limit_requests_per_minute"] == "60"
    ticked = screen.form(KEYS).locator(":checked").evaluate_all("all => all.map(one => one.value)")
    assert {"staging", "only", "ember-echo", "models", "chat/completions", "yes"} <= set(ticked)
    assert house.keys(mia) == []
    screen.send(KEYS, **{field: "" if field != "addresses" else "10.0.0.0/8"})
    screen.secret()
    assert house.keys(mia)[0]["models"] == ["ember-echo"], "nothing was lost on the way"


def test_every_fault_stands_beside_its_field(house, mia):
    once = mia.caller.get(f"{KEYS}/new").document.value("once")
    fields = {"scope": "only", "routes": "only", "limit_tokens_total": "x", "addresses": "y"}
    page = mia.caller.post(KEYS, {"name": "", "environment": "dev", "once": once} | fields)
    faults = [attributes["id"] for _, attributes in page.document.tags if attributes.get("class") == "fault"]
    assert (page.status, faults) == (400, ["models-fault", "routes-fault", "addresses-fault", "limit_tokens_total-fault"])


@SCRIPTS
def test_a_member_stays_within_the_configuration_and_an_administrator_need_not(house, visit, mia, has_script):
    key = house.key(mia, "bounded")
    edit = f"{KEYS}/{key.id}/edit"
    screen = visit(mia, has_script)
    screen.go(edit)
    expect(section(screen).locator("[name=weight]")).to_have_count(0)
    for more in ("6M", "unlimited"):
        screen.go(edit)
        unfold(screen)
        expect(screen.panel.get_by_label("Tokens per day")).to_have_attribute("placeholder", "5,000,000 by default")
        screen.send(edit, limit_tokens_per_day=more)
        expect(screen.panel.get_by_role("alert")).to_contain_text(f"{TOKENS_PER_DAY} tokens per day at most")
        assert values(screen, edit)["limit_tokens_per_day"] == more
    assert house.show(key.id)["limits"] == {}

    admin = visit(house.admin, has_script)
    admin.go(edit)
    unfold(admin)
    admin.send(edit, limit_tokens_per_day="6M", weight="7")
    saved(admin, f"{KEYS}/{key.id}")
    expect(admin.fact("Weight in queues")).to_have_text("7")

    screen.go(edit)
    screen.send(edit, name="renamed")
    saved(screen, f"{KEYS}/{key.id}")
    shown = house.show(key.id)
    assert (shown["name"], shown["limits"], shown["weight"]) == ("renamed", {"tokens_per_day": 6_000_000}, 7), (
        "what an administrator gave stays when its owner changes something else"
    )


def test_a_member_gives_his_key_no_weight(house, mia):
    key = house.key(mia)
    answer = mia.caller.post(f"{KEYS}/{key.id}/edit", {"name": "heavy", "weight": "100"})
    assert (answer.status, house.show(key.id)["weight"]) == (403, 1)


def test_a_form_of_before_takes_nothing_away(house, mia):
    """A page that was opened before there were more fields sends fewer."""
    key = house.key(mia, "old", "--rpm=60", "--routes=models", "--addresses=10.0.0.0/8", "--allow-browser")
    assert mia.caller.post(f"{KEYS}/{key.id}/edit", {"name": "new", "expiry": "keep"}).status == 303
    shown = house.show(key.id)
    kept = {"routes": ["models"], "addresses": ["10.0.0.0/8"], "limits": {"requests_per_minute": 60}, "allow_browser": True}
    assert (shown["name"], policy(shown)) == ("new", kept)


@SCRIPTS
def test_an_administrator_sets_what_an_account_may_use(house, visit, mia, has_script):
    screen, page = visit(house.admin, has_script), f"{ACCOUNTS}/{mia.id}"
    screen.go(page)
    screen.open(f"{page}/edit")
    screen.send(f"{page}/edit", limit_tokens_per_month="2G", limit_concurrent_requests="-1", name="Mia Two")
    expect(screen.panel.get_by_role("alert")).to_contain_text("Requests at once: '-1'")
    fields = {"limit_concurrent_requests": "4", "scope": "only", "model": ["ember-echo"], "addresses": "192.0.2.0/24"}
    screen.send(f"{page}/edit", **fields)
    saved(screen, page)
    account = house.account(mia.id)
    assert (account["name"], account["models"], account["addresses"]) == ("Mia Two", ["ember-echo"], ["192.0.2.0/24"])
    assert account["limits"] == {"tokens_per_month": 2_000_000_000, "concurrent_requests": 4}
    expect(screen.fact("Tokens per month")).to_have_text("2,000,000,000")

    member = visit(mia, has_script)
    member.go("/dashboard/account")
    expect(member.fact("Requests at once")).to_have_text("4")
    expect(member.fact("Addresses")).to_have_text("192.0.2.0/24")
    assert mia.caller.get(f"{page}/edit").status == 404
    assert mia.caller.post(f"{page}/edit", {"limit_concurrent_requests": "9"}).status == 404

    screen.open(f"{page}/edit")
    empty = dict.fromkeys(values(screen, f"{page}/edit"), "")
    screen.send(f"{page}/edit", scope="all", **empty)
    saved(screen, page)
    account = house.account(mia.id)
    assert (account["models"], account["addresses"], account["limits"]) == (None, None, {})


def test_limits_are_set_with_the_keyboard_alone(house, visit, mia):
    key = house.key(mia)
    screen = visit(mia)
    screen.go(f"{KEYS}/{key.id}/edit")
    keys = screen.page.keyboard
    summary, field = section(screen).locator("summary"), screen.panel.get_by_label("Requests per minute")
    for target, press in ((summary, "Enter"), (field, "")):
        for _ in range(40):
            if target.evaluate("one => one === document.activeElement"):
                break
            keys.press("Tab")
        expect(target).to_be_focused()
        if press:
            keys.press(press)
    keys.type("30")
    keys.press("Enter")
    saved(screen, f"{KEYS}/{key.id}")
    assert house.show(key.id)["limits"] == {"requests_per_minute": 30}

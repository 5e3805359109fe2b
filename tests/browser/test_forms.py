"""Owns that every form of the dashboard does what it says, with scripts and without."""

import re

from playwright.sync_api import expect

from house import PASSWORD, address
from screen import KEYS, SCRIPTS, Screen, comes
from stack import MODEL, until


@SCRIPTS
def test_a_key_is_edited(house, visit, mia, has_script):
    key, screen = house.key(mia, "first-name"), visit(mia, has_script)
    screen.go(f"{KEYS}/{key.id}")
    screen.open(f"{KEYS}/{key.id}/edit")
    fields = {"name": "second-name", "scope": "only", "model": [MODEL], "expiry": "date", "date": "2031-01-31"}
    screen.send(f"{KEYS}/{key.id}/edit", **fields)
    expect(screen.main.get_by_text("second-name").first).to_be_visible()
    shown = house.show(key.id)
    assert (shown["name"], shown["models"], shown["expires_at"][:10]) == ("second-name", [MODEL], "2031-01-31")
    screen.open(f"{KEYS}/{key.id}/edit")
    screen.send(f"{KEYS}/{key.id}/edit", name="third-name")
    expect(screen.main.get_by_text("third-name").first).to_be_visible()
    now = house.show(key.id)
    for facts in (shown, now):
        facts.pop("history")
    assert now == shown | {"name": "third-name"}, "the form begins with what is, and keeps it"


@SCRIPTS
def test_a_key_limited_to_a_model_may_use_that_alone(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    screen.send(KEYS, name="limited", scope="only", model=["ember-echo"], expiry="never")
    sdk = house.sdk(screen.secret())
    assert [model.id for model in sdk.models.list()] == ["ember-echo"]


@SCRIPTS
def test_a_wrong_name_deletes_nothing(house, visit, mia, has_script):
    key, screen = house.key(mia, "precious"), visit(mia, has_script)
    screen.go(f"{KEYS}/{key.id}")
    screen.open(f"{KEYS}/{key.id}/delete")
    let_through(screen, f"{KEYS}/{key.id}/delete")
    screen.send(f"{KEYS}/{key.id}/delete", name="precios")
    expect(screen.panel.get_by_role("alert")).to_be_visible()
    assert house.show(key.id)["status"] == "active"


def let_through(screen: Screen, action: str) -> None:
    """The browser's own check of a form is a convenience; the server's is what counts."""
    screen.form(action).evaluate(
        """form => {
            form.noValidate = true;
            form.querySelectorAll('[data-expected]').forEach(one => one.removeAttribute('data-expected'));
            form.querySelectorAll('[disabled]').forEach(one => { one.disabled = false; });
        }"""
    )


@SCRIPTS
def test_bad_fields_are_said_and_what_was_typed_is_kept(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    screen.send(KEYS, name="late", environment="staging", expiry="date", date="2001-01-01")
    expect(screen.panel.get_by_role("alert")).to_be_visible()
    assert screen.form(KEYS).locator('[name="name"]').input_value() == "late"
    assert house.keys(mia) == []


@SCRIPTS
def test_the_account_page_changes_name_theme_and_password(house, visit, mia, has_script):
    screen = visit(mia, has_script)
    screen.go("/dashboard/account")
    screen.send("/dashboard/account/name", name="Mia the Second")
    until(lambda: house.account(mia.id)["name"] == "Mia the Second", "the name is changed", 10)
    screen.go("/dashboard/account")
    screen.send("/dashboard/account/theme", theme="dark")
    comes(screen.is_dark, "the page is dark")
    screen.go("/dashboard/account")
    screen.send("/dashboard/account/password", current=PASSWORD, password="another good password")
    expect(screen.main.get_by_role("status").first).to_be_visible()
    mia.password = "another good password"
    assert mia.sign_in().is_signed_in()


@SCRIPTS
def test_sign_in_and_sign_out(house, visit, mia, has_script):
    screen = visit(has_script=has_script)
    screen.go(f"{KEYS}?status=active")
    screen.page.wait_for_url(re.compile(r"/sign-in\?next="))
    screen.send("/sign-in", email=mia.email.upper(), password=PASSWORD)
    screen.arrives(f"{KEYS}?status=active")
    screen.sign_out()
    screen.page.wait_for_url(re.compile("/sign-in"))
    screen.go("/dashboard")
    screen.page.wait_for_url(re.compile(r"/sign-in"))


@SCRIPTS
def test_an_administrator_looks_after_an_account(house, visit, mia, has_script):
    screen, page = visit(house.admin, has_script), f"/dashboard/accounts/{mia.id}"
    screen.go(page)
    screen.send(f"{page}/disable")
    expect(screen.form(f"{page}/enable")).to_be_visible()
    assert house.account(mia.id)["status"] == "disabled"
    screen.send(f"{page}/enable")
    expect(screen.form(f"{page}/disable")).to_be_visible()
    screen.send(f"{page}/reset")
    new_password(visit(has_script=has_script), screen.link())
    mia.password = "another good password"
    assert mia.sign_in().is_signed_in()
    screen.go(page)
    screen.open(f"{page}/delete")
    screen.send(f"{page}/delete", email=mia.email)
    screen.page.wait_for_url(lambda url: url.split("?")[0].endswith("/dashboard/accounts"))
    assert mia.email not in [account["email"] for account in house.say("account", "list")["data"]]


def new_password(screen: Screen, link: str) -> None:
    screen.go(link)
    screen.send("/reset", password="another good password")
    screen.page.wait_for_url(lambda url: "/reset" not in url)


@SCRIPTS
def test_an_account_made_by_hand_sets_its_own_password(house, visit, has_script):
    screen, email = visit(house.admin, has_script), address()
    screen.go("/dashboard/accounts")
    screen.open("/dashboard/accounts/new")
    screen.send("/dashboard/accounts", email=email, name="Nora", role="member")
    new_password(visit(has_script=has_script), screen.link())
    assert house.account(email)["name"] == "Nora"


@SCRIPTS
def test_a_revoked_invitation_is_no_way_in(house, visit, has_script):
    screen, email = visit(house.admin, has_script), address()
    link = house.invitation(email)
    screen.go("/dashboard/accounts")
    row = screen.main.locator("tr, li").filter(has_text=email)
    row.locator('form[action$="/revoke"] button').click()
    expect(screen.main.get_by_text(email)).to_have_count(0)
    visitor = visit(has_script=has_script)
    visitor.go(link)
    expect(visitor.form("/invite")).to_have_count(0)


def test_anyone_signs_up_where_that_is_open(open_house, visit):
    screen, email = visit(url=open_house.url), address()
    screen.go("/sign-up")
    screen.send("/sign-up", email=email, name="Una", password=PASSWORD)
    screen.page.wait_for_url(lambda url: "/sign-up" not in url)
    assert (open_house.account(email)["role"], open_house.account(email)["name"]) == ("member", "Una")


def test_nobody_signs_up_where_it_takes_an_invitation(house, visit):
    screen = visit()
    screen.go("/sign-up")
    expect(screen.form("/sign-up")).to_have_count(0)

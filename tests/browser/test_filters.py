"""Owns that keys are found: filters, sorting, pages of a list, and whose keys they are."""

import re

import pytest
from playwright.sync_api import expect

from screen import KEYS, SCRIPTS, comes

FILTERS: dict[str, tuple[dict[str, str], list[str]]] = {
    "all, newest first": ({}, ["gone", "off", "zebra", "ant"]),
    "search": ({"search": "EBR"}, ["zebra"]),
    "environment": ({"environment": "prod"}, ["zebra"]),
    "status active": ({"status": "active"}, ["zebra", "ant"]),
    "status disabled": ({"status": "disabled"}, ["off"]),
    "status revoked": ({"status": "revoked"}, ["gone"]),
    "by name": ({"sort": "name"}, ["ant", "gone", "off", "zebra"]),
    "by expiry": ({"sort": "expires", "status": "active"}, ["ant", "zebra"]),
    "two at once": ({"environment": "dev", "status": "active", "sort": "name"}, ["ant"]),
    "none fits": ({"search": "zebra", "environment": "dev"}, []),
}


@pytest.fixture(scope="module")
def zoo(house):
    """Somebody with four keys, and their ids by name."""
    keeper = house.member()
    options = {"ant": ["--expires=30d"], "zebra": ["--env=prod"], "off": [], "gone": []}
    ids = {name: house.key(keeper, name, *more).id for name, more in options.items()}
    house.say("key", "disable", ids["off"])
    house.say("key", "revoke", ids["gone"])
    return keeper, ids


@SCRIPTS
@pytest.mark.parametrize(("chosen", "names"), FILTERS.values(), ids=FILTERS)
def test_keys_are_found_by_every_filter(visit, zoo, has_script, chosen, names):
    keeper, ids = zoo
    screen = visit(keeper, has_script)
    screen.go(KEYS)
    screen.send(KEYS, **chosen)
    comes(lambda: screen.listed() == [ids[name] for name in names], f"only {names}")
    for name, value in chosen.items():
        expect(screen.form(KEYS).locator(f'[name="{name}"]').first).to_have_value(value)


def test_many_keys_go_over_several_pages(house, visit):
    keeper = house.member()
    made = [house.key(keeper).id for _ in range(53)]
    screen = visit(keeper, has_script=False)
    screen.go(KEYS)
    first = screen.listed()
    assert len(first) == 50 and "53" in screen.main.text_content()
    screen.page.locator('main a[href*="page=2"]').first.click()
    screen.page.wait_for_url(re.compile("page=2"))
    assert first + screen.listed() == made[::-1]


def test_an_administrator_sees_whose_key_each_is(house, visit, zoo):
    keeper, ids = zoo
    screen = visit(house.admin)
    screen.go(f"{KEYS}?account={keeper.id}")
    assert set(screen.listed()) == set(ids.values())
    screen.go(f"{KEYS}?account=all&search=zebra")
    assert ids["zebra"] in screen.listed()
    expect(screen.main.get_by_text(keeper.email).first).to_be_visible()
    screen.go(KEYS)
    assert not set(screen.listed()) & set(ids.values()), "without asking, only the own ones"

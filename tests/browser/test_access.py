"""Everybody can use every page: axe-core finds nothing, a phone need not scroll sideways, a keyboard is enough."""

import re

import pytest
from playwright.sync_api import Locator, expect

from screen import KEYS, Screen
from stack import KEY, until
from views import DIALOG_LINKS, VIEWS

SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}
NARROW = {"width": 360, "height": 740}
EACH_VIEW = pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
# How far the widest thing reaches beyond the window.
OVERHANG = """() => {
    const page = document.documentElement;
    return Math.max(page.scrollWidth - page.clientWidth, document.body.scrollWidth - page.clientWidth);
}"""


@EACH_VIEW
def test_axe_finds_nothing(visit, furnished, axe, view):
    screen = visit(furnished.people[view.who])
    view.show(screen, furnished)
    for size, viewport in SIZES.items():
        for scheme in ("light", "dark"):
            screen.page.set_viewport_size(viewport)
            screen.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            comes_to_rest(screen)
            assert screen.is_dark() == (scheme == "dark")
            assert axe(screen) == [], f"{view.name}, {size}, {scheme}"


def comes_to_rest(screen: Screen) -> None:
    """Waits for transitions, so that no colour is measured half-way."""
    screen.page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")


@EACH_VIEW
def test_360_pixels_are_wide_enough(visit, furnished, view):
    screen = visit(furnished.people[view.who], viewport=NARROW)
    view.show(screen, furnished)
    assert screen.page.evaluate(OVERHANG) <= 0
    if screen.dialog.count():
        box = screen.dialog.bounding_box()
        assert 0 <= box["x"] and box["x"] + box["width"] <= NARROW["width"]
        assert screen.dialog.evaluate("dialog => dialog.scrollWidth - dialog.clientWidth") <= 0


OPENERS = [(page, link) for page, links in DIALOG_LINKS.items() for link in links]


@pytest.mark.parametrize(("page", "link"), OPENERS, ids=lambda path: path[10:])
def test_a_dialog_opens_where_the_page_is_and_escape_closes_it(visit, furnished, page, link):
    screen, places = visit(furnished.people["mia"]), furnished.places
    screen.go(page.format(**places))
    opener = screen.page.locator(f'a[href="{link.format(**places)}"]').first
    opener.focus()
    screen.page.keyboard.press("Enter")
    expect(screen.dialog.locator("form").first).to_be_visible()
    expect(screen.dialog).to_have_accessible_name(re.compile(".+"))
    assert screen.path == page.format(**places), "the page stays"
    screen.page.keyboard.press("Escape")
    expect(screen.dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_key_is_created_with_the_keyboard_alone(house, visit, mia):
    screen = visit(mia)
    screen.go(KEYS)
    keys = screen.page.keyboard
    tab_to(screen, screen.page.locator(f'a[href="{KEYS}/new"]').first)
    keys.press("Enter")
    expect(screen.dialog).to_be_visible()
    until(lambda: is_inside(screen), "the focus goes into the dialog", 5)
    assert is_trapped(screen, "Tab") and is_trapped(screen, "Shift+Tab")
    tab_to(screen, screen.form(KEYS).locator('[name="name"]'))
    keys.type("typed")
    keys.press("Enter")
    assert KEY.fullmatch(screen.secret())
    assert house.keys(mia)[0]["name"] == "typed"
    until(lambda: is_inside(screen), "the focus stays in the dialog", 5)
    assert is_trapped(screen, "Tab")
    tab_to(screen, screen.dialog.get_by_role("checkbox"))
    keys.press("Space")
    tab_to(screen, screen.dialog.get_by_role("link", name="Done"))
    keys.press("Enter")
    screen.page.wait_for_url(f"**{KEYS}/key_*")


def tab_to(screen: Screen, target: Locator) -> None:
    expect(target).to_be_visible()
    for _ in range(80):
        if target.evaluate("one => one === document.activeElement"):
            assert target.evaluate("one => one.matches(':focus-visible')")
            return
        screen.page.keyboard.press("Tab")
    pytest.fail(f"80 times Tab from the top of {screen.path} do not come to {target}")


def is_inside(screen: Screen) -> bool:
    return screen.page.evaluate("document.querySelector('dialog[open]').contains(document.activeElement)")


def is_trapped(screen: Screen, key: str) -> bool:
    """Whether the focus never gets to anything of the page behind, however often the key is pressed."""
    places = set()
    for _ in range(40):
        screen.page.keyboard.press(key)
        places.add(
            screen.page.evaluate(
                """() => document.activeElement.closest('dialog[open]') ? 'dialog'
                    : document.activeElement === document.body ? 'browser' : document.activeElement.outerHTML"""
            )
        )
    assert places <= {"dialog", "browser"}, places
    return True


def test_a_skip_link_comes_first_and_the_page_has_one_heading(visit, furnished):
    screen = visit(furnished.people["mia"])
    screen.go(KEYS)
    screen.page.keyboard.press("Tab")
    first = screen.page.evaluate("document.activeElement.getAttribute('href') || ''")
    assert first.startswith("#") and screen.page.locator(first).count() == 1
    assert screen.page.locator("h1").count() == 1


def test_motion_stops_for_those_who_ask(visit, furnished):
    screen = visit(furnished.people["mia"], reduced_motion="reduce")
    screen.go(KEYS)
    screen.open(f"{KEYS}/new")
    running = "document.getAnimations().filter(one => one.effect.getComputedTiming().duration > 100).length"
    assert screen.page.evaluate(running) == 0

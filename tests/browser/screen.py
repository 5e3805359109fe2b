"""Owns a person's hands and eyes on one tab of the dashboard, with scripts or without. Knows the contract of forms:
their actions, their fields' names, `data-dialog`, `data-secret`. Knows nothing of what is asserted."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from stack import KEY, until

KEYS = "/dashboard/keys"
SCRIPTS = pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
SUBMIT = 'button:not([type]), button[type="submit"], input[type="submit"]'
IS_DARK = """() => {
    const grounds = [document.body, document.documentElement].map(one => getComputedStyle(one).backgroundColor);
    const ground = grounds.find(color => !/^rgba\\(.*, 0\\)$/.test(color)) ?? 'rgb(255, 255, 255)';
    const probe = new OffscreenCanvas(1, 1).getContext('2d');
    probe.fillStyle = ground;
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((sum, part) => sum + part) < 384;
}"""
T = TypeVar("T")
KEY_LINK = re.compile(r"/dashboard/keys/(key_[0-9a-z]{26})$")

# What stays when the page is gone; the browser's own error pages may not be asked for some of it.
REMEMBERED = """() => {
    const may = read => { try { return read(); } catch { return null; } };
    const stores = [() => ({...localStorage}), () => ({...sessionStorage}), () => document.cookie];
    return JSON.stringify([history.state, window.name, location.href, ...stores.map(may)]);
}"""
# All that the page holds.
HELD = """() => {
    const typed = [...document.querySelectorAll('input, textarea, output')].map(field => field.value);
    return JSON.stringify([document.documentElement.outerHTML, document.title, typed]);
}"""


def comes(probe: Callable[[], T], what: str) -> T:
    """Waits until `probe` finds something, also on the page after this one."""

    def look() -> T | None:
        try:
            return probe()
        except Error:  # between two pages
            return None

    return until(look, what, 10)


class Screen:
    def __init__(self, page: Page, url: str, has_script: bool):
        self.page, self.url, self.has_script = page, url, has_script
        self.turns = 0

    def go(self, path: str) -> Locator:
        self.page.goto(f"{self.url}{path}")
        return self.main

    @property
    def main(self) -> Locator:
        return self.page.locator("main")

    @property
    def dialog(self) -> Locator:
        return self.page.locator("dialog[open]")

    @property
    def panel(self) -> Locator:
        """What is in front: the dialog, else the page."""
        return self.dialog if self.has_script and self.dialog.count() else self.main

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.url)

    def open(self, href: str) -> Locator:
        """Follows a link; what it opens, be it a dialog or a page."""
        link = self.page.locator(f'a[href="{href}"]').first
        is_dialog = self.has_script and link.get_attribute("data-dialog") is not None
        link.click()
        if is_dialog:
            expect(self.dialog).to_be_visible()
            return self.dialog
        self.page.wait_for_url(f"{self.url}{href}")
        return self.main

    def form(self, action: str) -> Locator:
        return self.panel.locator(f'form[action="{action}"]')

    def send(self, action: str, **fields: str | list[str]) -> None:
        """Fills in a form and sends it."""
        form = self.form(action)
        for name, value in fields.items():
            fill(form, name, value)
        form.locator(SUBMIT).first.click()

    def secret(self) -> str:
        """The key that is shown once, here and now."""
        shown = self.page.locator("input[data-secret]:visible")
        expect(shown).to_have_value(KEY)
        return shown.input_value()

    def link(self) -> str:
        """The path of the one-time link that is shown here and now."""
        pattern = re.compile(re.escape(self.url) + r"(/(?:invite|reset)/[^\s\"\\<&]+)")
        return comes(lambda: pattern.search(self.everything()), "a link is shown")[1]

    def stored(self) -> None:
        """Says that the key is stored, and leaves."""
        if self.has_script:
            self.panel.get_by_role("checkbox", name=re.compile("stored", re.I)).check()
        with self._another_page("Done"):  # which may have the same address
            self.panel.get_by_role("link", name="Done").click()

    def sign_out(self) -> None:
        form = 'form[action="/sign-out"]'
        button = self.page.locator(f"{form} button").locator("visible=true")
        if not button.count():
            self.page.locator(f"details:has({form}) summary").first.click()
        button.first.click()

    def is_dark(self) -> bool:
        """Whether the page's ground is nearer to black than to white."""
        return self.page.evaluate(IS_DARK)

    def arrives(self, path: str) -> None:
        """The page is there; `done` may say what was just done."""
        expect(self.page).to_have_url(re.compile(rf"^{re.escape(self.url + path)}(\?done=[a-z-]+)?$"))

    def listed(self) -> list[str]:
        """The ids of the keys that a table of keys links to, from the top."""
        hrefs = self.page.locator('main a[href^="/dashboard/keys/key_"]').evaluate_all(
            "links => links.map(link => link.getAttribute('href'))"
        )
        return list(dict.fromkeys(match[1] for href in hrefs if (match := KEY_LINK.search(href))))

    def fact(self, label: str) -> Locator:
        """What stands beside a label in a list of facts."""
        return self.main.locator(f"xpath=.//dt[normalize-space()='{label}']/following-sibling::dd[1]")

    def remembered(self) -> str:
        """What stays when the page is gone."""
        return self.page.evaluate(REMEMBERED) + json.dumps(self.page.context.cookies())

    def everything(self) -> str:
        """All that the page holds and remembers, as one text."""
        return comes(lambda: self.page.evaluate(HELD) + self.remembered(), "a page that is there")

    def back(self) -> None:
        self._turn("back")

    def forward(self) -> None:
        self._turn("forward")

    def _turn(self, where: str) -> None:
        """Playwright's own ways wait for a request, and a page out of the back-forward cache makes none."""
        with self._another_page(where), contextlib.suppress(Error):  # it may go before it answers
            self.page.evaluate(f"() => history.{where}()")

    @contextlib.contextmanager
    def _another_page(self, what: str) -> Iterator[None]:
        """Waits, after what is done inside, until a page that was not there before is complete."""
        self.turns += 1
        self.page.evaluate(f"() => {{ window.emberTurn = {self.turns}; }}")
        yield
        is_there = f"window.emberTurn !== {self.turns} && document.readyState === 'complete'"
        comes(lambda: self.page.evaluate(is_there), f"another page after {what}")


def fill(form: Locator, name: str, value: str | list[str]) -> None:
    fields = form.locator(f'[name="{name}"]')
    kind = fields.first.evaluate("field => field.tagName === 'SELECT' ? 'select' : field.type")
    if kind == "select":
        fields.select_option(value)
    elif kind in ("radio", "checkbox"):
        for one in [value] if isinstance(value, str) else value:
            press(form, form.locator(f'[name="{name}"][value="{one}"]'))
    else:
        fields.first.fill(value)


def press(form: Locator, option: Locator) -> None:
    """Presses a radio or ticks a box as people do: on its label, for it may be drawn by its label alone."""
    if not option.is_checked():
        label = option.locator("xpath=ancestor::label")
        if not label.count():
            label = form.locator(f'label[for="{option.get_attribute("id")}"]')
        label.first.click()
    expect(option).to_be_checked()

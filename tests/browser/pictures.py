"""Takes the README's pictures: an Ember of its own with some keys, two pages of its dashboard. The key in the picture is
dots. Run it with the browser environment, and convert what it leaves in docs/images to fewer colours:

    EMBER_BIN=$PWD/target/release/ember SDK_PY=$PWD/target/py target/py/browser/bin/python tests/browser/pictures.py
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sdk"))

from stack import ROOT, Ember, run  # noqa: E402

PASSWORD = "correct horse battery staple"
IMAGES = ROOT / "docs/images"
KEYS = [
    ("billing-worker", "prod", "90d"),
    ("support-chat", "prod", "never"),
    ("support-chat", "staging", "30d"),
    ("search-index", "staging", "never"),
    ("ana-laptop", "dev", "365d"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DOTS = """() => {
    const text = value => value.replace(/(ember_[a-z]+_)[0-9A-Za-z]{38}/g, (_, start) => start + '.'.repeat(38));
    for (const it of document.querySelectorAll('dialog [data-secret]'))
        if ('value' in it) it.value = text(it.value); else it.textContent = text(it.textContent);
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        (home / "unused.key").touch(mode=0o600)
        (home / "unused.key").write_text("unused")
        ember = Ember(home, "http://127.0.0.1:9", home / "unused.key", "[models]\necho = true\n")
        create = ["account", "create", "ana@example.com", "--name", "Ana Petrova", "--password-stdin"]
        run([*ember.command(), *create], f"{PASSWORD}\n")
        for name, environment, expires in KEYS:
            words = ["key", "create", "--account", "ana@example.com", "--name", name, "--env", environment]
            run([*ember.command(), *words, "--expires", expires])
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 740})
        take(page, ember.url)
        browser.close()
        ember.child.end()


def take(page: Page, url: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.goto(f"{url}/sign-in?next=/dashboard/keys")
    page.fill("[name=email]", "ana@example.com")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url(re.compile("/dashboard/keys$"))
    page.screenshot(path=IMAGES / "keys.png")
    page.get_by_role("link", name="Create key").first.click()
    page.fill("dialog [name=name]", "invoice-reader")
    page.get_by_role("dialog").get_by_label(re.compile("Production|prod", re.I)).first.check()
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Create", re.I)).click()
    page.locator("dialog input[data-secret]").wait_for()
    page.evaluate(DOTS)
    page.screenshot(path=IMAGES / "key-issued.png")


main()

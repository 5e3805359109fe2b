"""From an invitation to a deleted key, as people do it, with scripts and without; the official SDK is the judge of
what a key does."""

import re

from playwright.sync_api import expect

from house import PASSWORD, House, address
from screen import KEYS, SCRIPTS, Screen
from speech import answered, is_cut, long_stream, refusal
from stack import until



@SCRIPTS
def test_from_an_invitation_to_a_deleted_key(house, visit, has_script):
    email = address()
    clerk = visit(house.admin, has_script)
    clerk.go("/dashboard/accounts")
    clerk.open("/dashboard/accounts/invite")
    clerk.send("/dashboard/accounts/invite", email=email, role="member", expiry="7d")
    invitation = clerk.link()

    mia = visit(has_script=has_script)
    mia.go(invitation)
    assert email in mia.everything(), "an invitation is for one address"
    mia.send("/invite", name="Mia", password=PASSWORD)
    mia.arrives("/dashboard")

    mia.go(KEYS)
    secret, key = create(mia, house, email, "journey")
    sdk = house.sdk(secret)
    assert answered(sdk)
    shows_use(mia, key)

    newer = rotate(mia, key, "1h")
    assert answered(house.sdk(newer)) and answered(sdk), "within the grace both work"
    newest = rotate(mia, key, "now")
    assert {refusal(sdk), refusal(house.sdk(newer))} == {"api_key_revoked"}
    sdk = house.sdk(newest)
    assert answered(sdk)

    mia.send(f"{key}/disable")
    expect(mia.form(f"{key}/enable")).to_be_visible()
    assert refusal(sdk) == "api_key_disabled"
    mia.send(f"{key}/enable")
    expect(mia.form(f"{key}/disable")).to_be_visible()

    stream = long_stream(sdk)
    mia.open(f"{key}/delete")
    mia.send(f"{key}/delete", name="journey")
    until(lambda: house.show(key.rsplit("/", 1)[1])["status"] == "revoked", "the key is revoked", 10)
    assert is_cut(stream), "the stream went on to a clean end"
    assert refusal(sdk) == "api_key_revoked"


def create(mia: Screen, house: House, email: str, name: str) -> tuple[str, str]:
    """Issues a key on the page of keys; the key and its page."""
    mia.open(f"{KEYS}/new")
    mia.send(KEYS, name=name, environment="prod", scope="all", expiry="90d")
    secret = mia.secret()
    assert f"{house.url}/v1" in mia.everything(), "the base URL stands beside the key"
    if mia.has_script:
        copies_exactly(mia, secret)
    key = f"{KEYS}/{house.say('key', 'list', f'--account={email}')['data'][0]['id']}"
    mia.stored()
    mia.arrives(key)
    assert secret not in mia.everything()
    shown = house.show(key.rsplit("/", 1)[1])
    assert (shown["name"], shown["environment"], shown["models"], shown["last4"]) == (name, "prod", None, secret[-4:])
    assert secret.startswith("ember_prod_") and shown["expires_at"], "what the form said is what the key is"
    return secret, key


def copies_exactly(screen: Screen, secret: str) -> None:
    screen.page.evaluate("navigator.clipboard.writeText('nothing yet')")
    screen.panel.locator("[data-copy]:visible").first.click()
    live = screen.page.locator("[aria-live]:not([aria-live=off]), [role=status], [role=alert]")
    expect(live.filter(has_text=re.compile("copied", re.I)).first).to_be_attached()
    assert screen.page.evaluate("navigator.clipboard.readText()") == secret
    assert secret not in screen.remembered(), "the clipboard has it, and nothing else of the browser's"


def shows_use(mia: Screen, key: str) -> None:
    def used() -> bool:
        mia.go(key)
        return mia.fact("Last used").locator("time[datetime]").count() == 1

    until(used, "the key's page says when it was last used", 10)


def rotate(mia: Screen, key: str, grace: str) -> str:
    mia.go(key)
    mia.open(f"{key}/rotate")
    mia.send(f"{key}/rotate", grace=grace)
    secret = mia.secret()
    mia.stored()
    mia.arrives(key)
    return secret


def test_rotating_again_within_the_grace_is_refused_and_changes_nothing(house, mia):
    key = house.key(mia)
    house.say("key", "rotate", key.id, "--grace", "1h")
    before = house.show(key.id)
    page = mia.caller.get(f"{KEYS}/{key.id}/rotate")
    answer = mia.caller.post(f"{KEYS}/{key.id}/rotate", {"grace": "24h", "once": page.document.value("once")})
    assert 400 <= answer.status < 500 and "ember_dev_" not in answer.text
    assert house.show(key.id) == before


@SCRIPTS
def test_a_key_that_was_never_used_says_so(house, visit, mia, has_script):
    key, screen = house.key(mia), visit(mia, has_script)
    screen.go(f"{KEYS}/{key.id}")
    expect(screen.fact("Last used")).to_have_text(re.compile("never", re.I))

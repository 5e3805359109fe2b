"""Takes a picture of everything there is to see, for people to look at: target/screenshots/NAME-SIZE[-dark].png."""

import pytest

from stack import SDK_PY
from views import VIEWS

PICTURES = SDK_PY.parent / "screenshots"
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}
ALSO_DARK = {"sign-in", "overview", "keys", "key", "key-edit-limits", "dialog-key-issued", "accounts", "usage"}


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
def test_a_picture_is_taken(visit, furnished, view):
    screen = visit(furnished.people[view.who], reduced_motion="reduce")
    view.show(screen, furnished)
    for scheme in ["light", "dark"] if view.name in ALSO_DARK else ["light"]:
        screen.page.emulate_media(color_scheme=scheme)
        for size, viewport in SIZES.items():
            screen.page.set_viewport_size(viewport)
            name = f"{view.name}-{size}{'-dark' if scheme == 'dark' else ''}.png"
            is_page = not screen.dialog.count()
            shot = screen.page.screenshot(path=PICTURES / name, full_page=is_page, animations="disabled")
            assert len(shot) > 3000, "it is not blank"

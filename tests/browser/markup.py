"""Owns reading a page's HTML without a browser: its forms, links and fields. Knows nothing of routes."""

import re
from html.parser import HTMLParser
from typing import NamedTuple

# Values that differ from page to page by right: tokens, and the ids of requests and records.
PASSING = {"csrf", "once", "ticket"}
ID = re.compile(r"\b(?:key|acct|ses|inv|req|evt)_[0-9a-z]{26}\b")


class Field(NamedTuple):
    """An input, or an option of a select."""

    form: str
    name: str
    kind: str
    value: str
    is_chosen: bool


class Document(HTMLParser):
    """What a page's HTML holds, in the order of the page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.forms: list[tuple[str, str]] = []
        self.fields: list[Field] = []
        self.scripts_inline: list[str] = []
        self._select = self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in pairs}
        self.tags.append((tag, attributes))
        self._tag = tag
        name = attributes.get("name", "")
        if tag == "form":
            self.forms.append((attributes.get("method", "get").lower(), attributes.get("action", "")))
        elif tag == "select":
            self._select = name
        elif tag == "option":
            self._add(self._select, "option", attributes, "selected" in attributes)
        elif tag == "input":
            self._add(name, attributes.get("type", "text"), attributes, "checked" in attributes)

    def _add(self, name: str, kind: str, attributes: dict[str, str], is_chosen: bool) -> None:
        form = self.forms[-1][1] if self.forms else ""
        self.fields.append(Field(form, name, kind, attributes.get("value", ""), is_chosen))

    def handle_data(self, text: str) -> None:
        if self._tag in ("script", "style") and text.strip():
            self.scripts_inline.append(text)

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def value(self, name: str) -> str:
        """What the first field of that name holds."""
        return next((field.value for field in self.fields if field.name == name), "")

    def chosen(self, name: str) -> list[str]:
        """The chosen options, ticked boxes and pressed radios of that name."""
        return [field.value for field in self.fields if field.name == name and field.is_chosen]

    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.tags if tag == "a" and "href" in attributes]

    def actions(self, pattern: str) -> list[str]:
        """The first groups of `pattern` in the actions of forms that post."""
        found = (re.fullmatch(pattern, action) for method, action in self.forms if method == "post")
        return [match[1] for match in found if match]


def faceless(text: str) -> str:
    """The page without what differs from one to the next by right, so that two can be compared."""
    for field in Document(text).fields:
        if field.name in PASSING and field.value:
            text = text.replace(field.value, "*")
    return ID.sub("*", text)

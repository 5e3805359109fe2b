"""How a stream reads that had to wait for a busy model server, and was kept alive with comments meanwhile."""

import contextlib
import json
import threading
import time
from types import SimpleNamespace

import openai
import pytest

from conftest import connect
from stack import Ember, until
from test_answers import CHAT, PROMPT, RESPONSE, spoken
from test_endings import STREAMS


def texts(chunks) -> str:
    return "".join(choice.text for chunk in chunks for choice in chunk.choices)


def deltas(events) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


SHORT = {
    "chat": lambda sdk: spoken(sdk.chat.completions.create(**CHAT, stream=True)),
    "completions": lambda sdk: texts(sdk.completions.create(**PROMPT, stream=True)),
    "responses": lambda sdk: deltas(sdk.responses.create(**RESPONSE, stream=True)),
}


@pytest.fixture
def busy(tmp_path, llama):
    """An Ember whose only slot is taken by `holder`, and a key of the test's own."""
    server = Ember(tmp_path, llama.url, llama.key_file, "in_flight_max = 1\n", 'keepalive_after = "20ms"')
    with contextlib.ExitStack() as opened:
        holder = opened.enter_context(STREAMS["chat"](connect(server.url, server.issue("holder"))))
        next(holder)
        yield SimpleNamespace(ember=server, holder=holder, client=connect(server.url, server.issue("app")))
    server.child.end()


def waiting(ember) -> int:
    return json.loads(ember.cli("status", "-o", "json"))["server"]["upstreams"][0]["waiting"]


def begin(busy, kind) -> tuple[threading.Thread, list]:
    """Asks in a thread, until comments have come for a while."""
    said = []

    def ask():
        try:
            said.append(SHORT[kind](busy.client))
        except openai.APIError as error:
            said.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    until(lambda: waiting(busy.ember) == 1, "the caller waits", 10)
    time.sleep(0.2)
    assert not said, said
    return caller, said


@pytest.mark.parametrize("kind", SHORT)
def test_law_7_a_stream_that_waited_says_what_the_model_server_says(busy, direct, kind):
    caller, said = begin(busy, kind)
    busy.holder.close()
    caller.join(20)
    assert said == [SHORT[kind](direct)]


@pytest.mark.parametrize("kind", SHORT)
def test_law_3_a_key_revoked_in_line_raises(busy, kind):
    caller, said = begin(busy, kind)
    busy.ember.cli("key", "revoke", "app", "-y")
    caller.join(5)
    assert said and isinstance(said[0], openai.APIError) and said[0].code == "api_key_revoked", said
    assert waiting(busy.ember) == 0

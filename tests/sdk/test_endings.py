"""How a request ends when somebody goes away: the key, the caller or the model server."""

import asyncio
import contextlib
import signal
import threading
import time

import openai
import pytest

from conftest import connect
from stack import MODEL, Llama, until
from test_answers import ASK, CHAT, spoken

try:
    import httpx2 as httpx
except ImportError:
    import httpx

# What the SDK raises when it was told of an error in the stream, or the connection broke.
BROKEN = (openai.APIError, httpx.TransportError)
LONG = {"temperature": 0, "max_tokens": 30_000}
STREAMS = {
    "chat": lambda sdk: sdk.chat.completions.create(**ASK, **LONG, stream=True),
    "completions": lambda sdk: sdk.completions.create(model=MODEL, prompt="Once", **LONG, stream=True),
    "responses": lambda sdk: sdk.responses.create(
        model=MODEL, input="Once", temperature=0, max_output_tokens=30_000, stream=True
    ),
}


@pytest.fixture
def begin():
    """Opens a stream and reads until the answer is well under way; closes it after the test, however that ends."""
    with contextlib.ExitStack() as opened:

        def begin(kind, client):
            stream = opened.enter_context(STREAMS[kind](client))
            advance(stream)
            return stream

        yield begin


def advance(stream) -> None:
    for _ in range(20):
        next(stream)


def read_on(stream) -> None:
    for _ in stream:
        pass
    pytest.fail("the stream ended as if the answer were whole")


@pytest.mark.parametrize("kind", STREAMS)
def test_law_3_a_revoked_key_is_cut_in_mid_stream(ember, llama, fresh, client, begin, kind):
    bystander, stream = begin("chat", client), begin(kind, fresh.client)
    acknowledged = []

    def revoke():
        ember.cli("key", "revoke", fresh.name, "-y")
        acknowledged.append(time.monotonic())

    clerk = threading.Thread(target=revoke)
    clerk.start()
    with pytest.raises(BROKEN):
        read_on(stream)
    cut = time.monotonic()
    clerk.join(10)
    assert acknowledged and cut - acknowledged[0] < 1
    with pytest.raises(openai.AuthenticationError) as refusal:
        fresh.client.chat.completions.create(**CHAT)
    assert refusal.value.code == "api_key_revoked"
    until(lambda: llama.busy() == 1, "the revoked key's slot is free, the other key's is not", 1)
    advance(bystander)
    bystander.close()
    until(lambda: llama.busy() == 0, "no slot at work", 1)


@pytest.mark.parametrize("kind", STREAMS)
def test_law_9_a_hang_up_in_mid_stream_frees_the_slot(llama, client, begin, kind):
    stream = begin(kind, client)
    assert llama.busy() == 1
    stream.close()
    until(lambda: llama.busy() == 0, "the slot is free after the caller hung up", 1)


BEFORE_THE_FIRST_TOKEN = {
    "long-prompt": {"messages": [{"role": "user", "content": "word " * 6000}], "max_tokens": 10, "stream": True},
    "whole-answer": {"messages": ASK["messages"], "max_tokens": 30_000},
}


@pytest.mark.parametrize("kind", BEFORE_THE_FIRST_TOKEN)
def test_law_9_a_hang_up_before_the_first_token_frees_the_slot(ember, llama, fresh, kind):
    async def first_token(sdk):
        answer = await sdk.chat.completions.create(model=MODEL, temperature=0, **BEFORE_THE_FIRST_TOKEN[kind])
        return await anext(aiter(answer)) if kind == "long-prompt" else answer

    async def hang_up():
        async with openai.AsyncOpenAI(base_url=f"{ember.url}/v1", api_key=fresh.key, max_retries=0) as sdk:
            request = asyncio.create_task(first_token(sdk))
            await asyncio.to_thread(until, lambda: llama.logged_busy() == 1, "the slot is at work", 10)
            assert not request.done(), "the answer began before the caller could hang up"
            request.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await request
            free = "the slot is free after the caller hung up: a second for Ember, one for llama.cpp to notice"
            await asyncio.to_thread(until, lambda: llama.logged_busy() == 0, free, 2.2)

    asyncio.run(hang_up())
    assert llama.busy() == 0


@pytest.mark.parametrize("kind", STREAMS)
def test_law_6_a_model_server_killed_in_mid_stream_is_never_a_clean_end(mortal, begin, kind):
    stream = begin(kind, mortal.client)
    mortal.llama.child.end(signal.SIGKILL)
    with pytest.raises(BROKEN) as error:
        read_on(stream)
    if isinstance(error.value, openai.APIError) and error.value.code:
        assert error.value.code in ("upstream_unavailable", "upstream_invalid")


def test_law_5_a_dead_model_server_is_never_a_401_and_may_come_back(mortal):
    mortal.llama.child.end(signal.SIGKILL)
    with pytest.raises(openai.APIStatusError) as refusal:
        mortal.client.chat.completions.create(**CHAT)
    assert refusal.value.status_code in (502, 503) and refusal.value.code == "upstream_unavailable"
    assert [model.id for model in mortal.client.models.list()] == [MODEL]
    with pytest.raises(openai.AuthenticationError):
        connect(mortal.ember.url, "ember_dev_nobody").chat.completions.create(**CHAT)
    mortal.llama = Llama(mortal.home, mortal.llama.key, mortal.llama.port)
    assert spoken(mortal.client.chat.completions.create(**CHAT, stream=True))

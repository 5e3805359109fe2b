"""What the SDK gets through Ember is what the model server says, and what the server gets is what the SDK wrote."""

import json
import re

import openai
import pytest

from conftest import UPSTREAM_KEY, connect
from stack import MODEL

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say something, please."}]}
CHAT = ASK | {"temperature": 0, "seed": 1, "max_tokens": 40}
PROMPT = {"model": MODEL, "prompt": "Once upon", "temperature": 0, "seed": 1, "max_tokens": 40}
RESPONSE = {"model": MODEL, "input": "Say something, please.", "temperature": 0, "max_output_tokens": 40}
SCHEMA = {"type": "object", "properties": {"state": {"enum": ["on", "off"]}}, "required": ["state"]}
TOOL = CHAT | {
    "tools": [{"type": "function", "function": {"name": "light", "description": "Switch it.", "parameters": SCHEMA}}],
    "tool_choice": "required",
    "logit_bias": {"5": 100},  # <tool_call>, see write_model.py
    "max_tokens": 300,
}
STRUCTURED = CHAT | {
    "response_format": {"type": "json_schema", "json_schema": {"name": "lamp", "schema": SCHEMA, "strict": True}},
    "max_tokens": 300,
}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def spoken(chunks) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_models_are_listed_and_retrieved_by_an_id_with_a_slash(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    found = client.models.retrieve(MODEL)
    assert (found.id, found.object) == (MODEL, "model")
    with pytest.raises(openai.NotFoundError) as refusal:
        client.models.retrieve("no/such")
    assert refusal.value.code == "model_not_found"


def test_an_unknown_model_is_refused_by_name(client):
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(**CHAT | {"model": "no/such"})
    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")


def test_chat_says_what_the_model_server_says(client, direct):
    ours, theirs = (one.chat.completions.create(**CHAT) for one in (client, direct))
    assert len(theirs.choices[0].message.content) >= 40
    assert ours.choices == theirs.choices
    assert ours.usage == theirs.usage and ours.usage.completion_tokens == 40


def test_a_stream_without_include_usage_shows_no_usage(client, direct):
    theirs = direct.chat.completions.create(**CHAT).choices[0].message.content
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    assert spoken(chunks) == theirs and len(chunks) > 40
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stream_with_include_usage_shows_it_once(client, direct):
    theirs = direct.chat.completions.create(**CHAT)
    chunks = list(client.chat.completions.create(**CHAT, **USAGE))
    assert spoken(chunks) == theirs.choices[0].message.content
    with_usage = [at for at, chunk in enumerate(chunks) if chunk.usage or not chunk.choices]
    assert with_usage == [len(chunks) - 1]
    assert chunks[-1].usage == theirs.usage


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(client, stream):
    answer = client.chat.completions.create(**TOOL, stream=stream)
    if stream:
        calls = [call for chunk in answer for choice in chunk.choices for call in choice.delta.tool_calls or []]
        parts = [call.function for call in calls if call.index == 0]
    else:
        parts = [answer.choices[0].message.tool_calls[0].function]
    assert "".join(part.name or "" for part in parts) == "light"
    assert json.loads("".join(part.arguments or "" for part in parts))["state"] in ("on", "off")


def test_an_answer_keeps_to_its_schema(client, direct):
    ours, theirs = (one.chat.completions.create(**STRUCTURED).choices[0].message.content for one in (client, direct))
    assert ours == theirs and json.loads(ours)["state"] in ("on", "off")


@pytest.mark.parametrize("stream", [False, True])
def test_completions(client, direct, stream):
    theirs = direct.completions.create(**PROMPT).choices[0].text
    ours = client.completions.create(**PROMPT, stream=stream)
    text = "".join(choice.text for chunk in ours for choice in chunk.choices) if stream else ours.choices[0].text
    assert text == theirs and len(text) >= 40


def test_responses(client, direct):
    ours, theirs = (one.responses.create(**RESPONSE) for one in (client, direct))
    assert ours.output_text == theirs.output_text and len(ours.output_text) >= 40
    assert ours.usage == theirs.usage


def test_responses_stream_to_their_end_mark(client, direct):
    theirs = direct.responses.create(**RESPONSE).output_text
    events = list(client.responses.create(**RESPONSE, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == theirs
    assert events[-1].type == "response.completed" and events[-1].response.usage.output_tokens == 40


def test_responses_that_cross_tenants_are_refused(client):
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(**RESPONSE, previous_response_id="resp_of_somebody")
    assert refusal.value.code == "state_not_allowed"


def test_embeddings(client, direct):
    ask = {"model": MODEL, "input": ["one", "two"]}
    ours, theirs = (one.embeddings.create(**ask) for one in (client, direct))
    assert len(theirs.data) == 2 and len(theirs.data[0].embedding) == 64
    assert ours.data == theirs.data


def test_the_servers_own_refusal_passes_unchanged(client, direct):
    refusals = []
    for one in (client, direct):
        with pytest.raises(openai.BadRequestError) as refusal:
            one.chat.completions.create(**CHAT | {"messages": [{"role": "user", "content": "long " * 8000}]})
        refusals.append(refusal.value.response.content)
    assert refusals[0] == refusals[1] and b"context" in refusals[0]


def test_headers(client):
    chat = client.chat.completions.with_raw_response
    headers = chat.create(**CHAT, extra_headers={"x-request-id": "trace.me_1-A"}).headers
    assert headers["x-request-id"] == "trace.me_1-A"
    assert re.fullmatch(r"\d+(\.\d+)?", headers["openai-processing-ms"])
    made = {chat.create(**CHAT, extra_headers={"x-request-id": odd}).headers["x-request-id"] for odd in ("a b", "a/b")}
    assert len(made) == 2 and all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", one) for one in made)
    assert client.chat.completions.create(**CHAT)._request_id
    with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no" and answer.headers["x-request-id"]


@pytest.mark.parametrize("spoil", [lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), lambda _: "sk-abc"])
def test_a_wrong_key_is_refused_at_once(ember, fresh, spoil):
    asked = []
    hooks = {"request": [lambda request: asked.append(request.url)]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as http_client:
        stranger = connect(ember.url, spoil(fresh.key), max_retries=2, http_client=http_client)
        with pytest.raises(openai.AuthenticationError) as refusal:
            stranger.chat.completions.create(**CHAT)
    assert (refusal.value.code, refusal.value.type) == ("invalid_api_key", "authentication_error")
    assert refusal.value.response.headers["www-authenticate"] == "Bearer"
    assert refusal.value.request_id and len(asked) == 1


ODD = {"unknown_field": {"z": 1, "a": [1.50, "\u00e9", "\u2028"]}}
REQUESTS = {
    "chat": lambda raw: raw.chat.completions.with_raw_response.create(**CHAT, extra_body=ODD),
    "chat-stream": lambda raw: raw.chat.completions.with_raw_response.create(**CHAT, **USAGE, extra_body=ODD),
    "tool": lambda raw: raw.chat.completions.with_raw_response.create(**TOOL),
    "tool-stream": lambda raw: raw.chat.completions.with_raw_response.create(**TOOL, **USAGE),
    "schema": lambda raw: raw.chat.completions.with_raw_response.create(**STRUCTURED),
    "completion": lambda raw: raw.completions.with_raw_response.create(**PROMPT),
    "completion-stream": lambda raw: raw.completions.with_raw_response.create(**PROMPT, **USAGE),
    "response": lambda raw: raw.responses.with_raw_response.create(**RESPONSE),
    "response-stream": lambda raw: raw.responses.with_raw_response.create(**RESPONSE, stream=True),
    "embedding": lambda raw: raw.embeddings.with_raw_response.create(model=MODEL, input="one"),
}


def exchange(tapped, request):
    """Makes the request; returns the bytes as the SDK wrote and read them, and what passed at the relay."""
    before = len(tapped.exchanges)
    answer = request(tapped.client)
    ours = answer.http_response.read()
    passed = [one for one in tapped.exchanges[before:] if "/models" not in one.path]
    assert len(passed) == 1, "one request of the SDK is one request at the model server"
    return answer.http_request.content, ours, passed[0]


@pytest.mark.parametrize("kind", REQUESTS)
def test_law_7_byte_for_byte(tapped, kind):
    written, read, passed = exchange(tapped, REQUESTS[kind])
    assert passed.sent == written
    assert passed.answered == read and read


@pytest.mark.parametrize("kind", [CHAT, TOOL, PROMPT], ids=["chat", "tool", "completion"])
def test_law_7_usage_is_asked_for_and_taken_out(tapped, kind):
    def ask(raw):
        return (raw.completions if "prompt" in kind else raw.chat.completions).with_raw_response.create(**kind, stream=True)

    written, read, passed = exchange(tapped, ask)
    assert json.loads(passed.sent) == json.loads(written) | {"stream_options": {"include_usage": True}}
    grown = len(passed.sent) - len(written)
    assert any(passed.sent[:at] + passed.sent[at + grown :] == written for at in range(len(written))), "one splice"
    events = passed.answered.split(b"\n\n")
    extra = [event for event in events if b'"choices":[]' in event and b'"usage"' in event]
    assert len(extra) == (0 if "prompt" in kind else 1), "llama.cpp has no extra chunk for completions"
    assert read == b"\n\n".join(event for event in events if event not in extra)


def test_law_11_keys_stay_on_their_side(tapped):
    for request in REQUESTS.values():
        _, read, passed = exchange(tapped, request)
        assert f"Bearer {UPSTREAM_KEY}" in passed.headers
        assert tapped.key not in passed.headers and tapped.key.encode() not in passed.sent
        assert UPSTREAM_KEY.encode() not in read

"""Owns what the unmodified SDK says with a key and how it is refused. Knows nothing of pages."""

import httpx2 as httpx
import openai
import pytest

from stack import MODEL

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say something, please."}], "temperature": 0}
# What the SDK raises when it was told of an error in the stream, or the connection broke.
BROKEN = (openai.APIError, httpx.TransportError)


def answered(sdk: openai.OpenAI) -> bool:
    """Whether a streamed answer comes, to its end."""
    chunks = sdk.chat.completions.create(**ASK, max_tokens=5, stream=True)
    return bool("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))


def refusal(sdk: openai.OpenAI) -> str:
    """The code of the 401 that a request gets."""
    with pytest.raises(openai.AuthenticationError) as refused:
        sdk.chat.completions.create(**ASK, max_tokens=5)
    return refused.value.code


def long_stream(sdk: openai.OpenAI) -> openai.Stream:
    """A stream that is well under way and far from its end."""
    stream = sdk.chat.completions.create(**ASK, max_tokens=30_000, stream=True)
    for _ in range(20):
        next(stream)
    return stream


def is_cut(stream: openai.Stream) -> bool:
    """Reads on; whether the stream breaks off. A clean end is a lie."""
    try:
        for _ in stream:
            pass
    except BROKEN:
        return True
    finally:
        stream.close()
    return False

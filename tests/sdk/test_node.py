"""The official Node SDK is no browser: its fetch sends sec-fetch-mode, and passes."""

import json

from stack import CLEAN, HERE, MODEL, SDK_PY, Child


def ask(url: str, key: str) -> dict:
    env = CLEAN | {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "SDK_NODE": str(SDK_PY / "node")}
    return json.loads(Child(["node", str(HERE / "node/ask.mjs"), MODEL], env).wait_for(r"(\{.*\})"))


def test_the_node_sdk_passes_and_is_known_by_its_name(ember, fresh):
    said = ask(ember.url, fresh.key)
    assert said.get("models") and said.get("whole") == 1 and said.get("streamed"), said
    seen = json.loads(ember.cli("key", "show", fresh.name, "-o", "json"))["seen"]
    assert [user["client"] for user in seen["users"]] == ["OpenAI/JS 6.49.0"], seen
    assert (seen["users"][0]["requests"], seen["browsers_refused"]) == (3, None), seen


def test_the_node_sdk_hears_that_its_key_is_revoked(ember, fresh):
    ember.cli("-y", "key", "revoke", fresh.name)
    assert ask(ember.url, fresh.key) == {"status": 401, "code": "api_key_revoked"}

"""What a caller and a person see through nginx, Caddy and HAProxy, as docs/proxy.md configures them: the same as without."""

import html
import json
import re
import subprocess
import threading
import time

import openai
import pytest

from conftest import PASSWORD
from fake_model import GAP, PIECES
from proxies import NAME
from stack import until

CHAT = "/v1/chat/completions"
# How much later than it was sent a piece may come, in seconds. One that is held back comes with the next, GAP later.
LATE = GAP * 0.7
SOON = 1.0


def ask(prompt: str, **more) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


def test_the_sdk_gets_answers_and_streams(sdk):
    assert [model.id for model in sdk.models.list()] == ["m"]
    answer = sdk.chat.completions.create(**ask("hello"))
    assert int(answer.choices[0].message.content) > 0 and answer.usage.total_tokens == 2
    pieces = list(sdk.chat.completions.create(**ask("pieces 0.01", stream=True)))
    assert len(pieces) == PIECES


def test_each_piece_comes_as_it_is_sent(sdk):
    late = []
    for piece in sdk.chat.completions.create(**ask("stream", stream=True)):
        late.append(time.monotonic() - float(piece.choices[0].delta.content))
    print(f"\nlate by {max(late) * 1000:.1f} ms at most, {sorted(late)[len(late) // 2] * 1000:.1f} ms in the middle")
    assert len(late) == PIECES and max(late) < LATE, late


def is_left_soon(stage, hang_up) -> None:
    """The model server notices within a second that nobody wants its answer any more."""
    before = len(stage.model.gone)
    went = time.monotonic()
    hang_up()
    while len(stage.model.gone) == before:
        assert time.monotonic() - went < SOON, "the model server goes on for nobody"
        time.sleep(0.005)
    print(f"\nthe model server was left after {(stage.model.gone[-1] - went) * 1000:.0f} ms")


def forget(stage) -> None:
    while stage.model.begun.acquire(blocking=False):
        pass


def test_a_hang_up_in_a_stream_reaches_the_model_server(stage, key):
    client = stage.client()
    with client.stream("POST", CHAT, headers=bearer(key), json=ask("pieces 1", stream=True)) as answer:
        # Kept: httpx hangs up when nobody holds the iterator any more.
        lines = answer.iter_lines()
        next(lines)
        is_left_soon(stage, client.close)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_up_before_the_answer_reaches_the_model_server(stage, key, stream):
    forget(stage)
    command = ["curl", "-sS", "--http1.1", *curl_to(stage), "-H", f"Authorization: Bearer {key}", "-H",
               "Content-Type: application/json", "-d", json.dumps(ask("slow", stream=stream)), f"{stage.url}{CHAT}"]
    caller = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    assert stage.model.begun.acquire(timeout=10)
    is_left_soon(stage, caller.kill)
    caller.wait()


def curl_to(stage) -> list[str]:
    return ["--noproxy", "*", "--cacert", str(stage.ca), "--resolve", f"{NAME}:{stage.port}:127.0.0.1"]


def test_http_2_in_front_streams_and_hangs_up_as_well(stage, key):
    command = ["curl", "-sS", "-N", "--http2", *curl_to(stage), "-w", "version %{http_version}\n", "-H",
               f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", f"{stage.url}{CHAT}"]
    whole = subprocess.run([*command, "-d", json.dumps(ask("pieces 0.01", stream=True))], capture_output=True, text=True)
    assert whole.stdout.endswith("data: [DONE]\n\nversion 2\n"), whole
    caller = subprocess.Popen([*command, "-d", json.dumps(ask("pieces 1", stream=True))], stdout=subprocess.PIPE)
    assert caller.stdout.readline().startswith(b"data: ")
    is_left_soon(stage, caller.kill)
    caller.wait()


def test_the_client_is_the_client_whatever_he_says_he_is(stage):
    key = stage.ember.issue("--addresses", "127.0.0.2")
    claims = [{}, {"x-forwarded-for": "127.0.0.2"}, {"forwarded": "for=127.0.0.2"}, {"x-real-ip": "127.0.0.2"},
              {"x-forwarded-for": "127.0.0.2, 127.0.0.1"}]
    for claim in claims:
        refused = stage.client("127.0.0.3").post(CHAT, headers=bearer(key, **claim), json=ask("hello"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "ip_not_allowed"), claim
    for claim in [{}, {"x-forwarded-for": "203.0.113.9"}]:
        allowed = stage.client("127.0.0.2").post(CHAT, headers=bearer(key, **claim), json=ask("hello"))
        assert allowed.status_code == 200, claim
    # Lines are gathered for a moment and written in their order.
    last = allowed.headers["x-request-id"]
    said = until(lambda: last in (said := stage.ember.child.output()) and said, f"the access line of {last}", 10)
    assert '"peer":"127.0.0.2"' in said and '"peer":"127.0.0.3"' in said and "203.0.113.9" not in said


def sign_in(stage, client, **headers: str):
    page = client.get("/sign-in")
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    if token is None:
        return page
    form = {"csrf": token[1], "email": "a@example.com", "password": PASSWORD}
    return client.post("/sign-in", data=form, headers={"origin": stage.url, **headers})


def test_a_person_signs_in_and_links_begin_with_the_public_url(stage):
    client = stage.client()
    answer = sign_in(stage, client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard"), answer.text
    cookies = [line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-ember_session=")]
    assert cookies and "; Secure" in cookies[0] and "; HttpOnly" in cookies[0], answer.headers
    overview = client.get("/dashboard")
    assert overview.status_code == 200 and f"{stage.url}/v1" in html.unescape(overview.text)
    link = stage.ember.cli("invite", "create", "b@example.com").strip()
    assert link.startswith(f"{stage.url}/invite/"), link
    assert stage.client().get(link.removeprefix(stage.url)).status_code == 200


def test_nobody_signs_in_over_a_proxy_that_ember_is_not_told_of(untold):
    for claim in [{}, {"x-forwarded-proto": "https"}]:
        client = untold.client()
        page = client.get("/sign-in", headers=claim)
        assert "trusted_proxies" in page.text, page.text
        answer = sign_in(untold, client, **claim)
        assert answer.headers.get("location") != "/dashboard"
        assert "ember_session" not in answer.headers.get("set-cookie", ""), answer.headers


def test_a_large_body_passes_whole_and_one_that_is_too_large_does_not(stage, sdk, key):
    body = json.dumps(ask("x" * (30 << 20))).encode()
    headers = bearer(key, **{"content-type": "application/json"})
    answer = stage.client().post(CHAT, headers=headers, content=body)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.json()["choices"][0]["message"]["content"] == str(len(body))
    refused = stage.client().post(CHAT, headers=headers, content=b" " * (33 << 20))
    assert refused.status_code == 413


def test_refusals_are_what_they_are_without_a_proxy(stage, sdk):
    for path, method in [("/v1/models", "GET"), (CHAT, "POST"), ("/v1/nothing", "GET"), ("/v1/../admin", "GET")]:
        refused = stage.client().request(method, path)
        assert refused.status_code == 401 and set(refused.json()["error"]) == {"message", "type", "param", "code"}, path
        assert refused.headers["content-type"] == "application/json" and refused.headers["x-request-id"]
    with pytest.raises(openai.AuthenticationError) as raised:
        sdk.with_options(api_key="ember_dev_" + "a" * 38).models.list()
    assert raised.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(**{**ask("hello"), "model": "nothing"})


def test_a_stream_that_waits_is_kept_alive(stage, key):
    forget(stage)
    first = stage.client()
    with first.stream("POST", CHAT, headers=bearer(key), json=ask("pieces 0.15", stream=True)) as busy:
        rest = busy.iter_lines()
        next(rest)
        lines, came = [], []
        began = time.monotonic()
        reader = threading.Thread(target=list, args=(rest,))
        reader.start()
        with stage.client().stream("POST", CHAT, headers=bearer(key), json=ask("pieces 0.01", stream=True)) as waiting:
            for line in waiting.iter_lines():
                lines.append(line)
                came.append(time.monotonic() - began)
        reader.join()
    comments = [at for line, at in zip(lines, came) if line.startswith(":")]
    assert len(comments) >= 2 and comments[0] < 0.9, (comments, lines[:5])
    assert lines.count("data: [DONE]") == 1 and sum(line.startswith("data: {") for line in lines) == PIECES

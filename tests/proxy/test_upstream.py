"""Ember as the client of somebody else's TLS: OpenSSL's, in nginx, with the tickets for later sessions that it sends."""

from contextlib import ExitStack

import httpx2 as httpx

import stack
from conftest import stage_of


def test_many_requests_go_over_one_connection_to_a_server_of_openssl(there, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    with stage_of("nginx", tmp_path_factory.mktemp("upstream"), there, True) as behind, ExitStack() as ending:
        (home / "upstream.key").write_text(behind.ember.issue())
        ember = stack.Ember(home, f"https://127.0.0.1:{behind.port}", home / "upstream.key", f'ca_file = "{behind.ca}"\n')
        ending.callback(ember.child.end)
        key = ember.issue("app")
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        with httpx.Client(base_url=ember.url, trust_env=False, headers={"authorization": f"Bearer {key}"}) as client:
            for _ in range(30):
                assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert ember.child.end() == 0
    lines = [line.split() for line in (behind.proxy.home / "access").read_text().splitlines()]
    used = {tuple(words[:2]) for words in lines if words[2] == "/v1/chat/completions"}
    assert len(used) == 1 and used.pop()[1] == "TLSv1.3", lines

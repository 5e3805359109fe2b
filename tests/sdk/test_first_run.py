"""The first minute: `ember up` on an empty directory yields a key with which the SDK is answered; again, it mints nothing."""

import json
import signal
import stat

from conftest import connect
from stack import CLEAN, EMBER_BIN, KEY, Child, Llama, run
from test_answers import CHAT, spoken


def test_ember_up_from_nothing_to_a_streamed_answer(tmp_path):
    model_server, data = Llama(tmp_path), tmp_path / "data"
    up = [EMBER_BIN, "up", "--data", str(data), "--listen", "127.0.0.1:0", "--upstream", model_server.url]

    def answered_with(key: str, secrets: str) -> str:
        """Starts `ember up`, streams an answer, stops it with Ctrl-C; returns what it said."""
        server = Child([*up, "--out", str(tmp_path / secrets)], CLEAN)
        try:
            url = server.wait_for(r"listening on (http://127\.0\.0\.1:\d+)")
            key = key or KEY.search((tmp_path / secrets).read_text())[0]
            assert spoken(connect(url, key).chat.completions.create(**CHAT, stream=True))
            minted.append(key)
        finally:
            code = server.end(signal.SIGINT)
        assert code == 0, "Ctrl-C drains and exits 0"
        return server.output()

    def held(noun: str) -> list[str]:
        listed = json.loads(run([EMBER_BIN, "--data", str(data), "-o", "json", noun, "list"]))
        return [record["id"] for record in listed["data"]]

    minted: list[str] = []
    try:
        said = answered_with("", "first")
        assert not KEY.search(said), "with --out the key is in the file alone"
        assert stat.S_IMODE((tmp_path / "first").stat().st_mode) == 0o600
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        before = held("account"), held("key")
        assert [len(ids) for ids in before] == [1, 1], "one administrator, one key"
        said = answered_with(minted[0], "second")
        assert not KEY.search(said) and not (tmp_path / "second").exists()
        assert (held("account"), held("key")) == before, "the second run mints nothing"
    finally:
        model_server.child.end(signal.SIGKILL)

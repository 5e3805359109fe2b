"""Owns the processes under test: a real llama.cpp server, a real Ember, a recording relay between the two.
Knows nothing of what is asserted about them.

`$EMBER_BIN` is the binary (default target/debug/ember), `$SDK_PY` the environments that env.sh made.
"""

import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, NamedTuple, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SDK_PY = Path(os.environ.get("SDK_PY", ROOT / "target/py"))
EMBER_BIN = os.environ.get("EMBER_BIN", str(ROOT / "target/debug/ember"))
MODEL = "ember/test"
KEY = re.compile(r"ember_(?:dev|staging|prod)_[0-9A-Za-z]{38}")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("EMBER_", "LLAMA_"))}
T = TypeVar("T")


def until(probe: Callable[[], T], what: str, seconds: float) -> T:
    """Asks `probe` until it says something true, and fails with the sentence `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def get(url: str, key: str = "") -> tuple[int, bytes]:
    """One GET without the SDK. Status 0 when nobody answers."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    try:
        with OPENER.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()
    except OSError:
        return 0, b""


class Child:
    """A process whose output is read as it comes, so that it can be waited for and never blocks."""

    def __init__(self, command: list[str], env: dict[str, str]):
        self.said: deque[str] = deque(maxlen=20_000)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        pipes = (self.process.stdout, self.process.stderr)
        self.readers = [threading.Thread(target=self.said.extend, args=(lines,), daemon=True) for lines in pipes]
        for reader in self.readers:
            reader.start()

    def _read_out(self) -> None:
        for reader in self.readers:
            reader.join(5)

    def output(self) -> str:
        return "".join(list(self.said))

    def wait_for(self, pattern: str, seconds: float = 30) -> str:
        """The first group of `pattern` in what the process said; fails with its last words if it ends first."""

        def found() -> re.Match | None:
            ended = self.process.poll() is not None
            if ended:
                self._read_out()
            match = re.search(pattern, self.output())
            assert match or not ended, f"exit {self.process.returncode} before /{pattern}/:\n{self.output()[-2000:]}"
            return match

        return until(found, f"/{pattern}/ from {self.process.args}", seconds)[1]

    def end(self, number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """Sends the signal and returns the exit code (negative when killed by a signal)."""
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
            self._read_out()


class Llama:
    """llama.cpp's own server on the test model; `key` is what it asks of its callers ("" for none)."""

    def __init__(self, home: Path, key: str = "", port: int = 0):
        self.key, self.key_file = key, home / "llama.key"
        env = CLEAN | {"LLAMA_MODEL": str(SDK_PY / "ember-test.gguf"), "LLAMA_ALIAS": MODEL, "LLAMA_PORT": str(port)}
        if key:
            self.key_file.touch(mode=0o600)
            self.key_file.write_text(key)
            env["LLAMA_API_KEY_FILE"] = str(self.key_file)
        self.child = Child([str(SDK_PY / "llama/bin/python"), str(HERE / "llama_server.py")], env)
        self.url = self.child.wait_for(r"ready (http://\S+)")
        self.port = int(self.url.rsplit(":", 1)[1])

    def busy(self) -> int:
        """How many of its slots are at work now."""
        status, body = get(f"{self.url}/slots", self.key)
        assert status == 200, f"/slots answered {status}: {body!r}"
        return sum(slot["is_processing"] for slot in json.loads(body))

    def logged_busy(self) -> int:
        """The same from its log. Before a first token llama.cpp looks for a hang-up only after a second in which
        its queue was silent, and every question to /slots is a noise in that queue."""
        log = self.child.output()
        return log.count("| processing task") - log.count("| stop processing")


class Ember:
    """`ember serve` on a free port with one account, in front of `upstream` whose key is in `key_file`. `settings` are
    more lines for its configuration, `server` those of its section [server]."""

    def __init__(self, home: Path, upstream: str, key_file: Path, settings: str = "", server: str = ""):
        self.data, self.config = home / "data", home / "ember.toml"
        self.config.write_text(
            f'[server]\nlisten = "127.0.0.1:0"\n{server}\n'
            f'[[upstream]]\nname = "llama"\nurl = "{upstream}"\napi_key_file = "{key_file}"\n'
            + settings
        )
        self.child = Child([*self.command(), "serve"], CLEAN)
        with ExitStack() as when_it_fails:
            when_it_fails.callback(self.child.end)
            self.url = self.child.wait_for(r"listening on (http://127\.0\.0\.1:\d+)")
            until(lambda: get(f"{self.url}/readyz")[0] == 200, f"/readyz of {self.url}\n{self.child.output()}", 15)
            self.cli("account", "create", "a@example.com", "--password-stdin", stdin="correct horse battery staple\n")
            when_it_fails.pop_all()

    def command(self) -> list[str]:
        return [EMBER_BIN, "--data", str(self.data), "-c", str(self.config)]

    def cli(self, *words: str, stdin: str = "") -> str:
        """Runs the real command line beside the running server; returns its stdout."""
        return run([*self.command(), *words], stdin)

    def issue(self, name: str) -> str:
        """A new key; piped, `key create` says the key alone on stdout."""
        said = self.cli("key", "create", "--account", "a@example.com", "--name", name, "--env", "dev")
        assert KEY.fullmatch(said.removesuffix("\n")), f"not a key alone: {len(said)} characters on stdout"
        return said.strip()


def run(command: list[str], stdin: str = "") -> str:
    done = subprocess.run(command, env=CLEAN, input=stdin, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command} -> exit {done.returncode}: {done.stderr}"
    return done.stdout


class Exchange(NamedTuple):
    path: str
    headers: str
    sent: bytes
    answered: bytes


class Tap:
    """A relay in front of a model server. Keeps each exchange as Ember wrote it and as the server answered it."""

    def __init__(self, server: Llama):
        exchanges: list[Exchange] = []

        class Relay(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                onward = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                onward.request(self.command, self.path, sent, dict(self.headers.items()))
                answer = onward.getresponse()
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                answered = b""
                while piece := answer.read1(65536):
                    answered += piece
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                onward.close()
                exchanges.append(Exchange(self.path, str(self.headers), sent, answered))
                self.wfile.write(b"0\r\n\r\n")

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.exchanges = exchanges
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

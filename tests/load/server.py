"""Owns an Ember under load: its process, its key, what it takes of the machine. Knows nothing of what loads it."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "supply"), str(ROOT / "tests" / "sdk")]
from report import figure, not_tried  # noqa: E402, F401
from stack import CLEAN, EMBER_BIN, KEY, run, until  # noqa: E402

FULL = os.environ.get("EMBER_PROOF") == "full"
EMAIL, PASSWORD = "ana@example.com", "correct horse battery staple"
ECHO = "[models]\necho = true\n"
MB = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def size(small, full):
    return full if FULL else small


class Ember:
    """`ember serve` on a free port with an account and a key. `server` are lines of its section [server], `rest` all
    below; `descriptors` is how many its process may have. Its log goes with its folder."""

    def __init__(self, server="", rest=ECHO, descriptors=0):
        self.home, self.process = Path(tempfile.mkdtemp(prefix="ember-load-")), None
        try:
            self.begin(server, rest, descriptors)
        except BaseException:
            self.end()
            raise

    def begin(self, server, rest, descriptors):
        self.config, self.data, self.log = self.home / "ember.toml", self.home / "data", self.home / "log"
        self.config.write_text(f'[server]\nlisten = "127.0.0.1:0"\n{server}\n{rest}')
        self.command = [EMBER_BIN, "-c", str(self.config), "--data", str(self.data)]
        self.cli("account", "create", EMAIL, "--admin", "--password-stdin", stdin=PASSWORD + "\n")
        self.key = self.cli("key", "create", "--account", EMAIL, "--name", "app").strip()
        assert KEY.fullmatch(self.key), "not a key alone"
        limit = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*limit, *self.command, "serve"], env=CLEAN, stderr=log, stdout=log,
                                            stdin=subprocess.DEVNULL)
        said = until(lambda: self.ended() or re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.said()),
                     "ember listens", 30)
        self.address = ("127.0.0.1", int(said[1]))
        until(lambda: self.ask()[0] == 200, "ember answers", 15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def ended(self):
        assert self.process.poll() is None, f"exit {self.process.returncode}: {self.said()[-2000:]}"

    def said(self):
        return self.log.read_text(errors="replace")

    def cli(self, *words, stdin=""):
        return run([*self.command, *words], stdin)

    def head(self, method, path, length=0, key=None):
        key = self.key if key is None else key
        return (f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n").encode()

    def chat(self, model="ember-echo", **more):
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **more},
                          separators=(",", ":")).encode()
        return self.head("POST", "/v1/chat/completions", len(body)) + body

    def connect(self, seconds=30, source=None):
        return socket.create_connection(self.address, seconds, source)

    def ask(self, request=None, seconds=30):
        """One request on a connection of its own; its status and body."""
        with self.connect(seconds) as wire:
            wire.sendall(request or self.chat())
            return answer(wire)

    def stop(self):
        """Ends it in order; whoever is left must not keep it from that."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def connections(self):
        return int(self.metric("ember_connections"))

    def metric(self, name):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(30)
            wire.connect(str(self.data / "ember.sock"))
            wire.sendall(b"GET /metrics HTTP/1.1\r\nHost: ember\r\nContent-Length: 0\r\n\r\n")
            text = b"".join(iter(lambda: wire.recv(65536), b"")).decode()
        return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", text, re.M)))

    def memory(self, what="VmRSS"):
        """Bytes: VmRSS is what it has now, VmHWM the most it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{what}:\s+(\d+) kB", status, re.M)[1]) * 1024

    def share(self):
        """Its proportional share of memory (PSS); only root may ask."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup")
        found = re.search(r"^Pss:\s+(\d+) kB", rollup.read_text(), re.M) if os.getuid() == 0 else None
        return int(found[1]) * 1024 if found else None

    def cpu(self):
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def answer(wire):
    """One whole answer with a length, and what is in it."""
    status, data = head_of(wire)
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", data, re.I)
    _, body = data.split(b"\r\n\r\n", 1)
    while length and len(body) < int(length[1]):
        part = wire.recv(1 << 16)
        assert part, "an answer that is not whole"
        body += part
    return status, body


def head_of(wire):
    data = b""
    while b"\r\n\r\n" not in data:
        part = wire.recv(1 << 16)
        assert part, f"the connection ended: {data[:200]}"
        data += part
    return int(data.split(b" ", 2)[1]), data


def code_of(body):
    """The code of a refusal in OpenAI's form."""
    return json.loads(body)["error"]["code"]


def many_descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most

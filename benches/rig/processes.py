"""Owns child processes: pinned to a core, ended with the run whatever happens, and what the system says of them. Knows
nothing of what they are."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

# The proxy has one core for itself; the load generator and the model server share the other.
PROXY_CORE, OTHER_CORE = 0, 1


GIVEN = set()


def free_port() -> int:
    """Below the ports that the system gives to connections of its own choice, and never the same twice."""
    while True:
        port = random.randrange(10_000, 32_000)
        try:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        if port not in GIVEN:
            GIVEN.add(port)
            return port


class Child:
    """A process with its stderr in a file; a context that ends it."""

    def __init__(self, command: list, core: int, log: Path, **options):
        self.log = log
        self.words = [str(word) for word in command]
        with open(log, "ab") as file:
            self.process = subprocess.Popen(["taskset", "-c", str(core), *self.words], stderr=file,
                                            stdin=options.pop("stdin", subprocess.DEVNULL),
                                            stdout=options.pop("stdout", file), **options)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, how: int = signal.SIGTERM, patience: float = 40) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                for pid in reversed(self.family()):
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()

    def family(self) -> list[int]:
        """The process and all below it."""
        found = [self.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found.extend(int(child) for child in children)
        return found

    def wait_for(self, port: int, patience: float = 20) -> None:
        """Until somebody accepts connections there."""
        end = time.monotonic() + patience
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.words[0]} ended by itself:\n{self.said()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f"{self.words[0]} does not listen on {port}:\n{self.said()}") from None
                time.sleep(0.01)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def memory(self) -> dict[str, int]:
        """Bytes, of the whole family: resident, its share of what is shared, and what is its own (proc(5))."""
        sums = dict.fromkeys(("Rss", "Pss", "Anonymous"), 0)
        for pid in self.family():
            for name, kib in re.findall(r"^(\w+): +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M):
                if name in sums:
                    sums[name] += int(kib) * 1024
        return {name.lower(): value for name, value in sums.items()}

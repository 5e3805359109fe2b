"""Owns what a peer takes of memory and of the disk."""

import shutil
import subprocess
import time
from contextlib import contextmanager

from bench import Bench, Row
from peers import Peer

MIB = 1024 * 1024


@contextmanager
def idle(bench: Bench, peer: Peer, connections: int):
    """Connections that have each had an answer and do nothing now; none of them is closed meanwhile."""
    load = bench.begin("idle", peer, connections=connections)
    try:
        yield
        said, errors = load.communicate(timeout=60)
        assert '"reconnects":0' in said, f"{peer.name}: {said}{errors}"
    finally:
        load.kill()
        load.wait()


@contextmanager
def streams(bench: Bench, peer: Peer, connections: int):
    """Streams under way, with a chunk a second each."""
    load = bench.begin("streams", peer, connections=connections, gap_ms=1000, seconds=3, warm=0)
    try:
        yield
        said, errors = load.communicate(timeout=60)
        assert load.returncode == 0, f"{peer.name}: {said}{errors}"
    finally:
        load.kill()
        load.wait()


@contextmanager
def nothing(*_):
    yield


def memory(bench: Bench) -> list[Row]:
    states = {
        "memory_idle": (nothing, 0),
        "memory_idle_1000": (idle, 1000),
        "memory_idle_9000": (idle, 9000),
        "memory_streams_200": (streams, 200),
        "memory_streams_5000": (streams, 5000),
    }
    names = [name for name in bench.names if name != "direct"]
    found = {state: {name: memory_of(bench, name, *what) for name in names} for state, what in states.items()}
    rows = [Row(state, "MiB resident", {name: [sums["rss"] / MIB] for name, sums in peers.items()},
                ["MiB of its own (anonymous): " + ", ".join(f"{name} {sums['anonymous'] / MIB:.2f}" for name, sums in peers.items()),
                 "MiB with its share of what is shared (PSS): " +
                 ", ".join(f"{name} {sums['pss'] / MIB:.2f}" for name, sums in peers.items())])
            for state, peers in found.items()]
    each = {name: [(found["memory_idle_9000"][name]["anonymous"] - found["memory_idle_1000"][name]["anonymous"]) / 8000 / 1024]
            for name in names}
    return [*rows, Row("memory_connection", "KiB of its own for each idle connection", each,
                       ["from 1,000 to 9,000 connections; the kernel's buffers are not in it"])]


def memory_of(bench: Bench, name: str, state, count: int) -> dict[str, int]:
    with bench.fresh(name) as peer:
        peer.start()
        with state(bench, peer, count):
            time.sleep(1)
            found = peer.child.memory()
    return found


def binary(bench: Bench) -> list[Row]:
    found = {name: shutil.which(name) for name in ("nginx", "haproxy") if name in bench.names} | bench.stage.embers
    sizes = {}
    for name, path in found.items():
        bare = bench.stage.home / "stripped"
        subprocess.run(["strip", "-o", bare, path], check=True)
        sizes[name] = [bare.stat().st_size / 1e6]
    return [Row("binary", "MB on disk, stripped; libraries beside it do not count", sizes, absolute=True)]

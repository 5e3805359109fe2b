"""Owns the rows about the store: making keys, and starting with very many."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from statistics import median

from bench import Bench, Row
from peers import Ember, Peer
from processes import free_port

BLOCK = 4096


def key_creation(bench: Bench) -> list[Row]:
    """Over the admin API of the public door, on connections that are kept."""
    alone, crowd, multiples, disk = {}, {}, {}, {}
    for name in bench.embers():
        with bench.fresh(name) as peer:
            peer.start()
            token = peer.home / "token"
            token.touch(0o600)
            token.write_text(peer.tell("token", "create", "bench").split()[-1])
            sync, one, many = [], [], []
            for number in range(bench.rounds):
                sync.append(fdatasync_us(peer.home))
                one.append(issue(bench, peer, token, f"one-{number}-", 1))
                many.append(issue(bench, peer, token, f"many-{number}-", 64))
        disk[name] = sync
        alone[name] = [said["answers"] / said["seconds"] for said in one]
        crowd[name] = [said["answers"] / said["seconds"] for said in many]
        multiples[name] = [said["answer_p50_ns"] / 1000 / own for said, own in zip(one, sync)]
    notes = ["each key is on the disk before it is answered for"]
    return [
        Row("key_creation_1", "keys a second, 1 caller", alone, notes, absolute=True),
        Row("key_creation_64", "keys a second, 64 callers", crowd, notes, absolute=True),
        Row("key_creation_p50", "p50 of 1 caller as a multiple of one write of 4 KiB with fdatasync", multiples, absolute=True),
        Row("fdatasync", "us, p50 of a write of 4 KiB with fdatasync in the same place and round", disk, absolute=True),
    ]


def issue(bench: Bench, peer: Peer, token: Path, name: str, callers: int) -> dict:
    return bench.load("closed", peer, keys=token, issue=name, connections=callers, status=200)


def fdatasync_us(folder: Path) -> float:
    """Each write makes the file longer by nothing: only data has to reach the disk."""
    path = folder / "written"
    times = []
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(BLOCK * 64))
        os.fsync(file.fileno())
        for number in range(100):
            began = time.perf_counter_ns()
            os.pwrite(file.fileno(), os.urandom(16) * (BLOCK // 16), BLOCK * (number % 64))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter_ns() - began) / 1000)
    path.unlink()
    return median(times)


def many_keys(bench: Bench) -> tuple[Path, Path]:
    """A data directory with very many keys, made once and kept, and the file with 1,000 of them in clear."""
    folder = bench.stage.home.parent / f"keys-{bench.many}"
    data, keys = folder / "data", folder / "keys"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subprocess.run([bench.stage.fill, data, str(bench.many), keys, str(min(1000, bench.many))], check=True)
        (folder / "whole").touch()
    return data, keys


def start_million(bench: Bench) -> list[Row]:
    """From the start of the process to the end of its first answer to a key, without any pin."""
    if not bench.many:
        return []
    data, keys = many_keys(bench)
    key = keys.read_text().split()[0]
    size = (data / "ember.redb").stat().st_size / 1e9
    clean, killed = {name: [] for name in bench.embers()}, {name: [] for name in bench.embers()}
    peers = {name: prepared(bench, name, data) for name in bench.embers()}
    started(next(iter(peers.values())), key, signal.SIGTERM)
    for _ in range(bench.rounds):
        for name, peer in peers.items():
            clean[name].append(started(peer, key, signal.SIGTERM) * 1000)
    for _ in range(1 if bench.quick else 3):
        for name, peer in peers.items():
            started(peer, key, signal.SIGKILL)
            killed[name].append(started(peer, key, signal.SIGTERM) / size)
    note = f"{bench.many:,} keys, {size:.2f} GB"
    return [Row("start_million", "ms to the first answer after a clean stop", clean, [note], absolute=True),
            Row("start_after_kill", "s for each GB after kill -9, the file in the page cache", killed, [note], absolute=True)]


def prepared(bench: Bench, name: str, data: Path) -> Ember:
    peer = bench.fresh(name, "many", data=data)
    peer.home.mkdir()
    peer.port = free_port()
    peer.command(False)
    return peer


def started(peer: Ember, key: str, how: signal.Signals) -> float:
    """Seconds to the first answer. Something is changed before the end, so that there is something to close."""
    began = time.perf_counter()
    server = subprocess.Popen([str(word) for word in peer.words("serve")], stderr=subprocess.DEVNULL,
                              env=peer.environment())
    try:
        while b" 200 " not in first_answer(peer.port, key):
            if server.poll() is not None:
                raise RuntimeError("the server ended by itself")
            time.sleep(0.0005)
        took = time.perf_counter() - began
        peer.tell("key", "create", "--account", "fill@example.com", "--name", f"more-{time.time_ns()}")
        server.send_signal(how)
        server.wait(60)
    finally:
        server.kill()
        server.wait()
    return took


def first_answer(port: int, key: str) -> bytes:
    text = f"GET /v1/models HTTP/1.1\r\nHost: ember\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
            stream.sendall(text.encode())
            return stream.recv(65536).split(b"\r\n")[0]
    except OSError:
        return b""

"""Owns a run: the peers that are up, how load is put on one of them, and rounds in turn."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from peers import Ember, Peer, Stage
from processes import OTHER_CORE
from stats import spread


@dataclass
class Row:
    """One figure of every peer, a value for each round."""

    name: str
    unit: str
    values: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)
    # Figures of which a ratio says nothing.
    absolute: bool = False
    # What ratios are over.
    bases: tuple[str, ...] = ("nginx", "haproxy", "relay")

    def as_json(self) -> dict:
        return {"name": self.name, "unit": self.unit, "values": self.values, "notes": self.notes,
                "spread": {name: spread(series) for name, series in self.values.items() if series}}


class Bench:
    def __init__(self, stage: Stage, names: list[str], rounds: int, quick: bool, many: int):
        self.stage, self.names, self.rounds, self.quick = stage, names, rounds, quick
        # Keys on file where there are to be many; 0 leaves that out.
        self.many = many
        self.seconds = 0.5 if quick else 2.0
        self.peers: dict[str, Peer] = {}

    def running(self, name: str) -> Peer:
        """The peer, which runs from its first use to the end of the run."""
        if name not in self.peers:
            self.peers[name] = self.stage.peer(name)
            self.peers[name].start()
        return self.peers[name]

    def embers(self) -> list[str]:
        return [name for name in self.names if name in self.stage.embers]

    def fresh(self, name: str, place: str = "fresh", **settings) -> Peer:
        """Another one of the same kind, not started; a context that ends it."""
        peer = self.stage.peer(name)
        peer.home = peer.home.with_name(f"{peer.home.name}-{place}")
        for key, value in settings.items():
            assert hasattr(Ember, key), key
            setattr(peer, key, value)
        return peer

    def end(self) -> None:
        for peer in self.peers.values():
            peer.end()
        self.stage.model.end()

    def command(self, mode: str, peer: Peer, **options) -> list[str]:
        if peer.checks_keys and options.get("status") != 401:
            options.setdefault("keys", getattr(peer, "keys", None) or self.stage.keys)
        words = ["taskset", "-c", str(OTHER_CORE), self.stage.tools, "load", mode, "--target",
                 f"127.0.0.1:{peer.port}"]
        for pid in peer.processes():
            words += ["--process", pid]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, value]
        return [str(word) for word in words]

    def load(self, mode: str, peer: Peer, **options) -> dict:
        """Puts load on a peer, and what the load generator says of it. An error ends the run: it measures nothing."""
        if "requests" not in options:
            options.setdefault("seconds", self.seconds)
        run = subprocess.run(self.command(mode, peer, **options), capture_output=True, text=True, timeout=900)
        if run.returncode:
            said = peer.child.said() if peer.child else ""
            raise RuntimeError(f"{peer.name}: {' '.join(run.args)}\n{run.stderr}\n{said}")
        found = json.loads(run.stdout.splitlines()[-1])
        # Two accounts of the kernel's; the precise one forgets threads that have ended.
        missing = found["cpu_by_ticks_ns"] - found["cpu_ns"]
        if missing > 0.05 * found["cpu_ns"] + 30e6:
            print(f"{peer.name}: {missing / 1e6:.0f} ms of processor time are missing", file=sys.stderr)
        return found

    def begin(self, mode: str, peer: Peer, **options) -> subprocess.Popen:
        """Load that goes on until its stdin ends, or it is ended; everything has been asked for once."""
        load = subprocess.Popen(self.command(mode, peer, **options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        if load.stdout.readline() != '{"ready":true}\n':
            load.kill()
            raise RuntimeError(f"{peer.name}: {' '.join(load.args)}\n{load.stderr.read()}")
        return load

    def in_turn(self, measure, names: list[str] | None = None, peers: dict[str, Peer] | None = None) -> dict[str, list]:
        """Rounds in which every peer has its turn, each round beginning with another one."""
        names = list(peers) if peers else names or self.names
        found = {name: [] for name in names}
        for number in range(self.rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                found[name].append(measure(peers[name] if peers else self.running(name)))
        return found

"""Owns the rows that show that what a request costs does not grow with what is there: one Ember in several sizes."""

import subprocess
from contextlib import ExitStack

from bench import Bench, Row
from peers import Peer
from processes import free_port
from scale import many_keys

COUNT = 100


def cpu(bench: Bench, **options):
    def measure(peer: Peer) -> float:
        found = bench.load("closed", peer, **options)
        return found["cpu_ns"] / found["answers"] / 1000
    return measure


def row(name: str, ember: str, values: dict[str, list[float]], note: str) -> Row:
    return Row(f"{name} ({ember})", "us of processor per request", values, [note], bases=(next(iter(values)),))


def flat_connections(bench: Bench) -> list[Row]:
    """Of every peer: sockets that are not in the processor's caches cost the kernel time, whoever has them."""
    sizes = (64, 1000, 9000)
    rows = []
    for name in bench.names:
        if name == "direct":
            continue
        found = {f"{size:,} connections": [] for size in sizes}
        for number in range(bench.rounds):
            for size in sizes[number % 3:] + sizes[:number % 3]:
                measure = cpu(bench, connections=size, at_once=64)
                found[f"{size:,} connections"].append(measure(bench.running(name)))
        rows.append(row("flat_connections", name, found, "64 requests open, on each of the connections in turn"))
    return rows


def flat_models(bench: Bench) -> list[Row]:
    """As many model servers as there are addresses; it is one process that listens on all of them."""
    port = free_port()
    addresses = [f"127.0.0.{number}:{port}" for number in range(1, COUNT + 1)]
    kinds = {
        "1 model, 1 server": ([(addresses[0], ["bench"])], 1),
        f"{COUNT} models, each on its server": ([(address, [f"bench-{number:03}"]) for number, address in enumerate(addresses)], COUNT),
        f"1 model on {COUNT} servers": ([(address, ["bench"]) for address in addresses], 1),
    }
    rows = []
    with bench.stage.start_model(addresses, COUNT):
        for ember in bench.embers():
            with ExitStack() as ending:
                peers = {}
                for number, (kind, (servers, _)) in enumerate(kinds.items()):
                    peers[kind] = ending.enter_context(bench.fresh(ember, f"models-{number}", servers=servers)).start()
                asked = {id(peers[kind]): models for kind, (_, models) in kinds.items()}
                found = bench.in_turn(lambda peer: cpu(bench, models=asked[id(peer)])(peer), peers=peers)
            rows.append(row("flat_models", ember, found, "64 connections"))
    return rows


def flat_keys(bench: Bench) -> list[Row]:
    rows = []
    single = bench.stage.home / "single"
    subprocess.run([bench.stage.fill, single / "data", "1", single / "keys", "1"], check=True, stderr=subprocess.DEVNULL)
    stores = {"1 key on file": (single / "data", single / "keys"), "1,000 keys on file": (bench.stage.store, bench.stage.keys)}
    if bench.many:
        stores[f"{bench.many:,} keys on file"] = many_keys(bench)
    for ember in bench.embers():
        with ExitStack() as ending:
            peers = {}
            for number, (kind, (store, keys)) in enumerate(stores.items()):
                peer = bench.fresh(ember, f"keys-{number}", store=store, keys=keys)
                peers[kind] = ending.enter_context(peer).start(patience=60)
            found = bench.in_turn(cpu(bench), peers=peers)
        rows.append(row("flat_keys", ember, found, "64 connections; 1,000 of the keys are in use, or all"))
    return rows

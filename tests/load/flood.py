"""Owns the proof that a flood of connections at a low limit of descriptors leaves commands a way in, and is over when it is
over (law 12)."""

import contextlib
import socket
import time

from server import Ember, answer, figure, size

DESCRIPTORS, FLOOD = size(128, 1024), size(600, 4000)
FLOODS = size(3, 10)
SECONDS_MAX = 1


def flood():
    with Ember(descriptors=DESCRIPTORS) as ember:
        commands, recoveries, waits = [], [], []
        kept = ember.connect()
        for _ in range(FLOODS):
            with kept_open(ember):
                commands += [timed(ember.cli, *words) for words in (["key", "list"], ["status"])]
                waits.append(timed(go_on, kept, ember))
            recoveries.append(timed(ember.ask))
        failed = ember.said().count("could not be accepted")
    name = f"{FLOODS} floods of {FLOOD} connections at {DESCRIPTORS} descriptors"
    figures = {"a command meanwhile": max(commands), "a request of who is connected meanwhile": max(waits),
               "a new connection's request after it": max(recoveries)}
    for what, longest in figures.items():
        figure(f"{name}, longest wait of {what}", f"{longest:.2f} s", f"be at most {SECONDS_MAX} s")
    # As many are let in as leave enough for everything else: it never comes to that.
    figure(f"{name}, accepts that failed", failed, "be 0")
    faults = [f"{what}: {longest:.2f} s" for what, longest in figures.items() if longest > SECONDS_MAX]
    return faults + ([f"{failed} accepts failed"] if failed else [])


@contextlib.contextmanager
def kept_open(ember):
    """As many as come in say nothing; the others wait in the kernel, and those behind them are not taken at all."""
    wires = []
    try:
        for _ in range(FLOOD):
            wire = socket.socket()
            wire.setblocking(False)
            wire.connect_ex(ember.address)
            wires.append(wire)
        time.sleep(0.2)
        yield
    finally:
        for wire in wires:
            wire.close()


def timed(act, *args):
    began = time.monotonic()
    act(*args)
    return time.monotonic() - began


def go_on(kept, ember):
    kept.sendall(ember.chat())
    status, _ = answer(kept)
    assert status == 200, f"who is connected got {status}"

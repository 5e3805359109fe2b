"""Owns the proof that connections and streams by the thousand take little memory, and that none of them is dropped (law 12)."""

import crowd
from beside import Beside
from model import Model
from server import ECHO, MB, Ember, figure, many_descriptors, size

IDLE, STREAMS = size(500, 9000), size(500, 9000)
IDLE_BYTES_MAX, STREAM_BYTES_MAX = 120 * MB, 600 * MB
# What Ember takes with nobody there.
ALONE_BYTES_MAX = 20 * MB
EVENTS, GAP = 10, size(0.2, 3.0)
PATIENCE = size(60, 300)


def allowed(count, full_bytes):
    """Of what 9,000 may take the part that falls to fewer."""
    return ALONE_BYTES_MAX + (full_bytes - ALONE_BYTES_MAX) * count // 9000


def idle():
    with Ember('connections_max = 12000\nidle_timeout = "30m"') as ember:
        before = ember.memory()
        with Beside(crowd.idle, ember.address, IDLE, ember.chat()) as clients:
            assert clients.hear(PATIENCE) == IDLE, "not all were answered"
            faults = told(ember, f"{IDLE} idle connections", IDLE, IDLE_BYTES_MAX, before)
            clients.tell("again")
            answered = clients.hear(PATIENCE)
    figure(f"answered again of {IDLE} idle connections", answered, f"be {IDLE}")
    return faults + ([] if answered == IDLE else [f"{answered} idle connections go on"])


def streams():
    most = many_descriptors()
    assert most >= 2 * STREAMS + 1000, f"{most} descriptors are too few for {STREAMS} streams"
    with Model(EVENTS, GAP) as model, Ember('connections_max = 12000\nwrite_timeout = "30m"', ECHO + model.section()) as ember:
        before = ember.memory()
        requests = [ember.chat("m", user=str(name), stream=True) for name in range(STREAMS)]
        with Beside(crowd.readers, ember.address, requests, EVENTS, PATIENCE) as clients:
            live = clients.hear(2 * PATIENCE)
            figure(f"live streams at once, of {STREAMS}", live, f"be {STREAMS}")
            model.go()
            clients.tell("go on")
            whole = clients.hear(2 * PATIENCE)
            faults = told(ember, f"{STREAMS} live streams", STREAMS, STREAM_BYTES_MAX, before, "VmHWM")
    figure(f"streams with all {EVENTS} events in their order and the end, of {STREAMS}", whole, f"be {STREAMS}")
    return faults + ([] if live == whole == STREAMS else [f"{live} live, {whole} whole"])


def told(ember, name, count, full_bytes, before, what="VmRSS"):
    took, share, most = ember.memory(what), ember.share(), allowed(count, full_bytes)
    about = f"{(took - before) / count / 1024:.1f} KiB each" + (f", {share / MB:.1f} MB as its share" if share else "")
    figure(f"memory with {name}", f"{took / MB:.1f} MB", f"be at most {most / MB:.1f} MB")
    figure(f"of that beyond what it takes alone, with {name}", about)
    return [] if took <= most else [f"{name} take {took / MB:.1f} MB"]

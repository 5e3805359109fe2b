"""Owns the others: a client that asks at a steady pace whatever else happens, and what it waits. Knows nothing of who loads
the server."""

import statistics
import time

from beside import Beside
from server import answer, figure, size

PER_SECOND = 250
# Every so many requests come over a connection of their own.
NEW_EVERY = 5
# A loaded machine is late by itself: one spell of that spoils a window, so several are looked at. How many does not hang on
# what was measured while others were loaded; a few more are taken where the quiet ones are not alike.
ROUNDS, ROUNDS_MAX = size(3, 7), size(5, 7)
ALIKE_MAX = 2
RATIO_MAX = 2
# A wait of so many seconds is no harm, whatever it was before. Every day a few hundred requests in short windows, beside whatever
# else a machine does, are to show a flood that shuts others out, not a millisecond.
BORNE_SECONDS = size(0.100, 0.025)


class Probe:
    """Authorised requests from a process of its own."""

    def __init__(self, ember):
        self.beside = Beside(asking, ember, nice=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.beside.end()

    def window(self, seconds):
        """The waits of that time, in seconds, each from when its request was due."""
        self.beside.tell(seconds)
        return self.beside.hear(seconds + 120)


def asking(ear, ember):
    kept, request = ember.connect(), ember.chat()
    while (seconds := ear.recv()) is not None:
        waits, due = [], time.monotonic()
        end = due + seconds
        while due < end:
            time.sleep(max(0, due - time.monotonic()))
            wire = kept if len(waits) % NEW_EVERY else ember.connect()
            wire.sendall(request)
            status, _ = answer(wire)
            assert status == 200, f"the others got {status}"
            if wire is not kept:
                wire.close()
            waits.append(time.monotonic() - due)
            due += 1 / PER_SECOND
        ear.send(waits)


def p99(waits):
    return statistics.quantiles(waits, n=100)[98]


def compared(probe, begin, end, seconds):
    """p99 of the others while something goes on against p99 while it is quiet, in turns: the median of the ratios, and that
    of the waits."""
    ratios, waits, quiet = [], [], [p99(probe.window(seconds))]
    while len(ratios) < ROUNDS or len(ratios) < ROUNDS_MAX and max(quiet) > ALIKE_MAX * min(quiet):
        begin()
        waits.append(p99(probe.window(seconds)))
        end()
        quiet.append(p99(probe.window(seconds)))
        ratios.append(2 * waits[-1] / (quiet[-2] + quiet[-1]))
    return Slowed(statistics.median(ratios), statistics.median(waits))


class Slowed:
    """How much slower others were."""

    def __init__(self, ratio, wait):
        self.ratio, self.wait = ratio, wait

    def is_fine(self):
        return self.ratio < RATIO_MAX or self.wait < BORNE_SECONDS

    def shown(self, name):
        """Says it, and what is wrong with it."""
        must = f"be under {RATIO_MAX} x or {BORNE_SECONDS * 1000:.0f} ms"
        value = f"{self.ratio:.2f} x, {self.wait * 1000:.1f} ms"
        figure(f"{name}, p99 of others against without", value, must)
        return [] if self.is_fine() else [f"{name}: {value}"]

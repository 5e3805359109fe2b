"""Owns the proof that slow clients slow nobody else, and that their time frees what they hold (law 12)."""

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import crowd
from beside import NICE, Beside
from model import Model
from probe import Probe, compared
from server import ECHO, MB, Ember, answer, figure, not_tried, os, size, until

SLOW = size(300, 5000)
SECONDS = size(1.0, 3.0)
# How long heads may take: slowhttptest opens each connection once, so all are there at once only where none has to go
# before the last has come, and a slow machine may take a while to open them.
HEADS_SECONDS = 60
# Ember is at rest when it works less than a tenth of this.
REST_SECONDS = 0.5
IN_FLIGHT = "ember_upstream_requests_in_flight"
READS = "reads of key holders, once each has what is kept for it"
# A cap that the slow ones fill, and how long they may: long enough for all to be there at once. A busy machine is a little late.
CAP, ALLOWED_SECONDS, LATE_SECONDS = size(100, 5000), size(3, 10), 2
# Whoever has sent something that nobody read gets this long to read why.
LINGER_SECONDS = 5
# More than Ember and the kernel keep for one who reads nothing, in events of a size that there is.
EVENT = 16_000
SOCKET_MAX = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
STREAM = {"events": (SOCKET_MAX + MB) // EVENT, "padding": EVENT}
# How much Ember may keep of each, and what it takes alone.
KEPT_MAX, BASE = 512 * 1024, 50 * MB


def install_slowhttptest():
    if shutil.which("slowhttptest") or os.getuid() != 0:
        return
    for command in (["update", "-qq"], ["install", "-y", "--no-install-recommends", "slowhttptest"]):
        # Where it cannot be had, it is said what was not tried.
        subprocess.run(["apt-get", *command], check=False, stdout=sys.stderr,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


@contextlib.contextmanager
def slowhttptest(ember, path, *mode):
    """Strangers: a key would be seen among the arguments."""
    url = f"http://127.0.0.1:{ember.address[1]}{path}"
    child = subprocess.Popen(["nice", "-n", str(NICE), "slowhttptest", *mode, "-c", str(SLOW), "-r", str(4 * SLOW), "-l", "600",
                              "-i", "10", "-p", "60", "-u", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def holders(ember, first, drip, buffer_bytes=0):
    """Holders of a key, who get further."""
    with Beside(crowd.slow, ember.address, SLOW, first, drip, 1.0, buffer_bytes) as beside:
        beside.hear(120)
        if buffer_bytes:
            # What Ember and the kernel keep for each comes as fast as it can: a burst, which is over when they are slow.
            until(lambda: ember.metric(IN_FLIGHT) == SLOW and at_rest(ember), "all have what is kept for them, and no end", 60)
        yield


def at_rest(ember):
    before = ember.cpu()
    time.sleep(REST_SECONDS)
    return ember.cpu() - before < REST_SECONDS / 10


def attacks(ember):
    long = ember.chat("m", user="1", stream=True)
    attacks = {
        "bodies of key holders": lambda: holders(ember, ember.head("POST", "/v1/chat/completions", 10_000) + b"{", b" "),
        READS: lambda: holders(ember, long, b"", 4096),
    }
    if shutil.which("slowhttptest"):
        attacks |= {
            "headers": lambda: slowhttptest(ember, "/v1/models", "-H", "-x", "24"),
            "bodies": lambda: slowhttptest(ember, "/v1/chat/completions", "-B", "-s", "8192", "-x", "10"),
            "reads": lambda: slowhttptest(ember, "/assets/dashboard.css", "-X", "-w", "1", "-y", "512", "-n", "1", "-z", "5"),
        }
    else:
        not_tried("slowhttptest, which is not installed")
    return attacks


def slow():
    faults = []
    server = f'connections_max = {SLOW + 1000}\nheader_timeout = "{HEADS_SECONDS}s"\nwrite_timeout = "10m"'
    with Model(**STREAM) as model, Ember(server, ECHO + model.section()) as ember, Probe(ember) as probe:
        model.go()
        for name, attack in attacks(ember).items():
            slowed, held = starved(ember, probe, attack, name == "bodies")
            faults += slowed.shown(f"{SLOW} slow {name}, {held} of them there at once")
            if name == READS:
                kept, most = ember.memory("VmHWM"), BASE + SLOW * KEPT_MAX
                figure(f"memory with {SLOW} streams that nobody reads", f"{kept / MB:.0f} MB", f"be at most {most / MB:.0f} MB")
                faults += [f"{kept} bytes with {SLOW} streams that nobody reads"] if kept > most else []
    return faults


def starved(ember, probe, attack, are_refused):
    """Whoever is refused goes before he can be slow: those who have been there are counted, else those who are."""
    held, stack, others = [], contextlib.ExitStack(), ember.connections()
    came = lambda: ember.metric("ember_requests_total") if are_refused else ember.connections()  # noqa: E731

    def begin():
        before = came()
        stack.enter_context(attack())
        until(lambda: came() - before >= SLOW * 9 // 10, "the slow ones come", 60)
        held.append(ember.connections() - others)

    def end():
        stack.close()
        until(lambda: ember.connections() <= others + 2, "the slow ones have gone", 60)

    with stack:
        return compared(probe, begin, end, SECONDS), max(held)


def full():
    """With every place taken by slow ones: who is connected goes on, and who comes waits for their time to end."""
    faults = []
    times = f'header_timeout = "{ALLOWED_SECONDS}s"\nbody_timeout = "{ALLOWED_SECONDS}s"'
    with Ember(f"connections_max = {CAP + 1}\n{times}") as ember:
        for name, first, drip, linger in [
            ("heads", b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ", b"x", 0),
            ("bodies", ember.head("POST", "/v1/chat/completions", 10_000) + b"{", b" ", LINGER_SECONDS),
        ]:
            kept, new = filled(ember, first, drip)
            longest = ALLOWED_SECONDS + linger + LATE_SECONDS
            what = f"all {CAP} places taken by slow {name} that get {ALLOWED_SECONDS} s"
            figure(f"{what}, wait of who is connected", f"{kept * 1000:.1f} ms", "be under 1000 ms")
            figure(f"{what}, wait of who comes", f"{new:.1f} s", f"be at most {longest} s")
            if kept >= 1 or new > longest:
                faults.append(f"slow {name}: {kept:.3f} s and {new:.1f} s")
    return faults


def filled(ember, first, drip):
    kept = ember.connect()
    with kept, Beside(crowd.slow, ember.address, CAP, first, drip, 0.2) as beside:
        kept.sendall(ember.chat())
        answer(kept)
        beside.hear(120)
        until(lambda: ember.connections() == CAP + 1, "all places are taken", 30)
        came = time.monotonic()
        kept.sendall(ember.chat())
        assert answer(kept)[0] == 200
        went_on = time.monotonic() - came
        assert ember.ask(seconds=120)[0] == 200
        return went_on, time.monotonic() - came

"""Owns what does not depend on how busy the machine is: user instructions and system calls of one request."""

import re
import signal
import subprocess
import time

from bench import Bench, Row

READS = {"read", "readv", "recvfrom", "recvmsg", "pread64"}
WRITES = {"write", "writev", "sendto", "sendmsg", "sendfile", "splice", "pwritev", "pwrite64"}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select"}
LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.M)
# Few, so that what is done for each key now and then, and not for each request, weighs little at valgrind's pace.
KEYS_USED = 4


def instructions(bench: Bench) -> list[Row]:
    """Twice as many requests less once as many: the start and the end are in both."""
    requests = 1000 if bench.quick else 3000
    rows = []
    kinds = {"instructions": {}, "instructions_refusal": {"status": 401},
             "instructions_refusal_unknown": {"status": 401, "well_formed": True}}
    for what, more in kinds.items():
        names = [name for name in bench.names if name != "direct" and (not more or name != "relay")]
        values = {}
        for name in names:
            once, twice = (instructions_of(bench, name, requests * times, more) for times in (1, 2))
            values[name] = [(twice - once) / requests]
        rows.append(Row(what, "user instructions per request", values,
                        [f"valgrind --tool=cachegrind --cache-sim=no, {requests} requests, 4 connections, {KEYS_USED} keys; "
                         "valgrind knows no SHA instructions, so SHA-256 counts for more than it is"]))
    return rows


def instructions_of(bench: Bench, name: str, requests: int, more: dict) -> int:
    out = bench.stage.home / "cachegrind.out"
    out.unlink(missing_ok=True)
    wrap = ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out}"]
    if "keys" not in more and "status" not in more:
        more = {**more, "keys_used": KEYS_USED}
    with bench.fresh(name) as peer:
        peer.start(wrap, patience=120)
        bench.load("closed", peer, connections=4, requests=requests, patience=300, **more)
        peer.child.end(patience=120)
    return int(re.search(r"^summary: +(\d+)", out.read_text(), re.M)[1])


def syscalls(bench: Bench) -> list[Row]:
    requests = 3000 if bench.quick else 20_000
    names = [name for name in bench.names if name != "direct"]
    values = {name: syscalls_of(bench, name, requests) for name in names}
    note = f"strace -c -f on the running process, {requests} requests, 64 connections"
    each = {
        "syscalls_io": ("reads and writes per request", READS | WRITES),
        "syscalls_wait": ("waits (epoll) per request", WAITS),
    }
    rows = [Row(row, unit, {name: [sum(found.get(call, 0) for call in calls) / requests] for name, found in values.items()},
                [note]) for row, (unit, calls) in each.items()]
    known = READS | WRITES | WAITS
    others = {name: [sum(count for call, count in found.items() if call not in known) / requests]
              for name, found in values.items()}
    detail = [f"{name}: " + ", ".join(f"{call} {count / requests:.3f}" for call, count in
                                      sorted(found.items(), key=lambda pair: -pair[1]) if count / requests >= 0.001)
              for name, found in values.items()]
    return [*rows, Row("syscalls_other", "other system calls per request", others, detail)]


def syscalls_of(bench: Bench, name: str, requests: int) -> dict[str, int]:
    out = bench.stage.home / "strace.out"
    out.unlink(missing_ok=True)
    with bench.fresh(name) as peer:
        peer.start()
        bench.load("closed", peer, requests=2000)
        attached = [word for pid in peer.processes() for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, *attached], stderr=subprocess.PIPE, text=True)
        try:
            for _ in peer.processes():
                tracer.stderr.readline()
            time.sleep(0.3)
            bench.load("closed", peer, requests=requests)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(30)
    return {call: int(count) for count, call in LINE.findall(out.read_text()) if call != "total"}

"""Owns the proof that a body made to be dear to read is read within bounds, or refused by name (law 12)."""

import time

from beside import Beside
from model import Model
from probe import Probe, compared
from server import ECHO, MB, Ember, answer, code_of, figure, size

BYTES = size(4, 32) << 20
PARALLEL = size(4, 8)
SECONDS = size(0.5, 3.0)
# Processor time for each MiB of a body, and a request's wait when it is alone. A copy to the model server is part of both.
CPU_PER_MIB_MAX, WAIT_PER_MIB_MAX = 0.05, 0.25
# Beside the bodies themselves: one is held once, and once more where it grows without its length being known.
MEMORY_MAX = 2 * PARALLEL * BYTES + 60 * MB

HELLO = b'{"model":"m","messages":[{"role":"user","content":"hello"}]'
FINE, BAD, LARGE = (200, None), (400, "invalid_json"), (413, "request_too_large")


def repeated(start, unit, end=b"", separator=b""):
    """As long as a body may be, and not a byte longer."""
    count = (BYTES - len(start) - len(end)) // (len(unit) + len(separator))
    return start + separator.join([unit] * count) + end


def nested(depth, inner=b""):
    return HELLO + b',"x":' + b"[" * depth + inner + b"]" * depth + b"}"


def members(count):
    return HELLO + b"".join(b',"a%d":1' % number for number in range(count)) + b"}"


def within(value):
    return HELLO + b',"x":' + value + b"}"


def bombs():
    """What it is, the body, what Ember says."""
    deep = min(1_000_000, BYTES // 3)
    return [
        ("arrays, a million deep", nested(deep), None),
        ("arrays without an end", repeated(b"", b"["), BAD),
        ("objects without an end", repeated(b"", b'{"a":'), BAD),
        ("arrays in a member without an end", repeated(HELLO + b',"x":', b"["), BAD),
        ("members by the hundred thousand", members(BYTES // 13), BAD),
        ("members of a member by the hundred thousand", within(members(BYTES // 13 - 100)), FINE),
        ("one member again and again", repeated(HELLO + b",", b'"a":1', b"}", b","), BAD),
        ("one member of a member again and again", within(repeated(b"{", b'"a":1', b"}" + b" " * 100, b",")[:-100]), FINE),
        ("the model again and again", repeated(b"{", b'"model":"m"', b"}", b","), BAD),
        ("empty objects", repeated(HELLO + b',"x":[', b"{}", b"]}", b","), FINE),
        ("a long string", repeated(HELLO + b',"x":"', b"x", b'"}'), FINE),
        ("a string of escapes", repeated(HELLO + b',"x":"', b"\\u0041", b'"}'), FINE),
        ("a long name of a member", repeated(HELLO + b',"', b"\\n", b'":1}'), FINE),
        ("a long name of a model", repeated(b'{"model":"', b"m", b'"}'), BAD),
        ("a string without an end", repeated(HELLO + b',"x":"', b"\\\\"), BAD),
        ("a number of many digits", repeated(HELLO + b',"x":', b"9", b"}"), FINE),
        ("a number beyond all numbers", HELLO + b',"max_tokens":1e999999999}', None),
        ("many digits for the tokens", repeated(HELLO + b',"max_tokens":', b"9", b"}"), None),
        ("blanks", repeated(b"", b" "), BAD),
        ("bytes that are no text", repeated(HELLO + b',"x":"', b"\xff", b'"}'), BAD),
        ("a byte too many", repeated(HELLO + b',"x":"', b"x", b'"}').ljust(BYTES + 1), LARGE),
    ]


def burst():
    faults = []
    with Model() as model:
        model.go()
        with Ember(f"body_bytes_max = {BYTES}\nbuffered_bytes_max = {2 * PARALLEL * BYTES}", ECHO + model.section()) as ember:
            alone, most_cpu, most_wait = ember.memory(), 0, 0
            for name, body, wanted in bombs():
                came, cpu, wait = tried(ember, body)
                per_mib = max(1.0, len(body) / (1 << 20))
                most_cpu, most_wait = max(most_cpu, cpu / per_mib), max(most_wait, wait / per_mib)
                if came != wanted and not (wanted is None and came in (FINE, BAD)):
                    faults.append(f"{name}: {came}, not {wanted}")
            slowed, answered = together(ember)
            took = ember.memory("VmHWM") - alone
    count = len(bombs())
    figures = [
        (f"{count} JSON bombs of {BYTES >> 20} MiB, most processor time for a MiB", most_cpu, CPU_PER_MIB_MAX, "s"),
        (f"{count} JSON bombs of {BYTES >> 20} MiB, longest wait for a MiB", most_wait, WAIT_PER_MIB_MAX, "s"),
        (f"{PARALLEL} JSON bombs at once, again and again, memory", took / MB, MEMORY_MAX / MB, "MB"),
    ]
    for what, value, most, unit in figures:
        figure(what, f"{value:.3g} {unit}", f"be under {most:.3g} {unit}")
    figure(f"JSON bombs answered otherwise than by name, of {count}", len(faults), "be 0")
    figure(f"{PARALLEL} JSON bombs at once, again and again, answered", answered, "be more than 0 of each")
    faults += slowed.shown(f"{PARALLEL} JSON bombs at once")
    return faults + [f"{what}: {value:.3g}" for what, value, most, _ in figures if value >= most]


def tried(ember, body):
    request = ember.head("POST", "/v1/chat/completions", len(body)) + body
    before, began = ember.cpu(), time.monotonic()
    status, said = ember.ask(request, 120)
    wait = time.monotonic() - began
    return (status, None if status == 200 else code_of(said)), ember.cpu() - before, wait


def together(ember):
    """All of them by several at once, as long as others are looked at."""
    bodies = [body for _, body, wanted in bombs() if wanted != LARGE]
    running, answered = [], []

    def begin():
        running.extend(Beside(throwing, ember, bodies[number:] + bodies[:number]) for number in range(PARALLEL))

    def end():
        for beside in running:
            beside.tell("enough")
        while running:
            answered.append(running[-1].hear(120))
            running.pop().end()

    try:
        with Probe(ember) as probe:
            slowed = compared(probe, begin, end, SECONDS)
    finally:
        for beside in running:
            beside.end()
    assert all(answered), f"not all threw bombs: {answered}"
    return slowed, sum(answered)


def throwing(ear, ember, bodies):
    """One after the other until it is told anything; says how many were answered."""
    answered = 0
    while not ear.poll():
        body = bodies[answered % len(bodies)]
        with ember.connect(120) as wire:
            wire.sendall(ember.head("POST", "/v1/chat/completions", len(body)) + body)
            answer(wire)
        answered += 1
    ear.send(answered)

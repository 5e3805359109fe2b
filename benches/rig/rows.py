"""Owns the rows that take the processor's time: each is measured in rounds, every peer in turn."""

from bench import Bench, Row
from counts import instructions, syscalls
from flatness import flat_connections, flat_keys, flat_models
from footprint import binary, memory
from scale import key_creation, start_million


def per_answer(bench: Bench, **options):
    def measure(peer):
        found = bench.load("closed", peer, **options)
        return found["cpu_ns"] / found["answers"] / 1000, found
    return measure


def cpu_rows(bench: Bench, name: str, notes: list[str], names: list[str] | None = None, **options) -> list[Row]:
    """Processor time for each answer of a closed loop."""
    names = names or [name for name in bench.names if name != "direct"]
    found = bench.in_turn(per_answer(bench, **options), names)
    values = {peer: [value for value, _ in series] for peer, series in found.items()}
    reconnects = {peer: sum(said["reconnects"] for _, said in series) for peer, series in found.items()}
    busy = {peer: min(said["cpu_ns"] / said["seconds"] / 1e9 for _, said in series) for peer, series in found.items()}
    notes = [*notes, "share of its core at least: " + ", ".join(f"{peer} {share:.2f}" for peer, share in busy.items())]
    if any(reconnects.values()):
        notes.append("connections that the proxy closed: " + ", ".join(f"{peer} {n}" for peer, n in reconnects.items()))
    return [Row(name, "us of processor per request", values, notes)]


def cpu_request(bench: Bench) -> list[Row]:
    return cpu_rows(bench, "cpu_request", ["64 connections, a request of about 370 bytes, an answer of 680 bytes of JSON"])


def cpu_refusal(bench: Bench) -> list[Row]:
    names = [name for name in bench.names if name not in ("direct", "relay")]
    return [
        *cpu_rows(bench, "cpu_refusal", ["64 connections, a made-up key: its checksum is wrong"], names, status=401),
        *cpu_rows(bench, "cpu_refusal_unknown", ["the same with a right checksum, so that Ember looks it up in its file"], names,
                  status=401, well_formed=True),
    ]


def body_32k(bench: Bench) -> list[Row]:
    return [
        *cpu_rows(bench, "body_32k", ["64 connections, a request of 32 kB, an answer of 680 bytes"], body_bytes=32_768),
        *cpu_rows(bench, "answer_32k", ["64 connections, a small request, an answer of 32 kB"], long_answer=True),
    ]


def cpu_chunk(bench: Bench) -> list[Row]:
    found = bench.in_turn(lambda peer: bench.load("streams", peer, connections=200, gap_ms=20))
    proxies = {peer: series for peer, series in found.items() if peer != "direct"}
    cpu = {peer: [said["cpu_ns"] / said["chunks"] / 1000 for said in series] for peer, series in proxies.items()}
    delay = {peer: [said["chunk_p50_ns"] / 1000 for said in series] for peer, series in found.items()}
    longest = {peer: [said["chunk_max_ns"] / 1e6 for said in series] for peer, series in found.items()}
    delayed = {peer: [said["delayed"] for said in series] for peer, series in found.items()}
    return [
        Row("cpu_chunk", "us of processor per chunk", cpu, ["200 streams, a chunk of about 230 bytes every 20 ms"]),
        Row("chunk_delay", "us from the model server's write to the caller's read, p50", delay, absolute=True),
        Row("chunk_delay_longest", "ms, the longest of all chunks", longest, absolute=True),
        Row("chunks_held_back", "chunks that took longer than half a gap", delayed, absolute=True),
    ]


def first_chunk(bench: Bench) -> list[Row]:
    found = bench.in_turn(lambda peer: bench.load("streams", peer, connections=4, chunks=5, gap_ms=5))
    values = {peer: [said["first_chunk_p50_ns"] / 1000 for said in series] for peer, series in found.items()}
    return [Row("first_chunk", "us from the request to its first chunk, p50", values, ["4 streams of 5 chunks, one after the other"],
                absolute=True)]


def latency_500(bench: Bench) -> list[Row]:
    found = bench.in_turn(lambda peer: bench.load("open", peer, rate=500, connections=32))
    def values(part):
        return {peer: [said[f"answer_{part}_ns"] / 1000 for said in series] for peer, series in found.items()}
    note = "500 requests a second on a schedule, an answer of 680 bytes; from when it was to be sent"
    return [Row("latency_500_p50", "us, p50", values("p50"), [note], absolute=True),
            Row("latency_500_p99", "us, p99", values("p99"), [note], absolute=True)]


ROWS = {
    "cpu_request": cpu_request,
    "cpu_chunk": cpu_chunk,
    "first_chunk": first_chunk,
    "cpu_refusal": cpu_refusal,
    "body_32k": body_32k,
    "latency_500": latency_500,
    "instructions": instructions,
    "syscalls": syscalls,
    "memory": memory,
    "binary": binary,
    "key_creation": key_creation,
    "start_million": start_million,
    "flat_connections": flat_connections,
    "flat_models": flat_models,
    "flat_keys": flat_keys,
}

"""Owns the command line of benches/compare, which calls this with programs that are built."""

import argparse
import json
import resource
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.dont_write_bytecode = True

import report
from bench import Bench
from peers import Stage
from rows import ROWS

PEERS = ["direct", "relay", "nginx", "haproxy", "hyper"]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/compare", description="Measures Ember beside its peers.")
    parser.add_argument("--rounds", type=int, help="rounds of each row (10; 3 with --quick)")
    parser.add_argument("--only", metavar="ROW[,ROW]", help="of " + ", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="short rounds, for trying it out")
    parser.add_argument("--ember", action="append", default=[], metavar="[NAME=]PATH",
                        help="an Ember that is built already; several are measured in turn")
    parser.add_argument("--peers", default=",".join(PEERS), help="beside Ember, of " + ", ".join(PEERS))
    parser.add_argument("--skip-million", action="store_true", help="leave out what needs a store with a million keys")
    parser.add_argument("--many", type=int, default=1_000_000, metavar="N", help="the keys of that store (1000000)")
    parser.add_argument("--tools", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fill", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",") if chosen.only else list(ROWS)
    chosen.peers = chosen.peers.split(",") if chosen.peers else []
    for row in chosen.only:
        if row not in ROWS:
            parser.error(f"no row {row!r}; there are {', '.join(ROWS)}")
    for peer in chosen.peers:
        if peer not in PEERS:
            parser.error(f"no peer {peer!r}; there are {', '.join(PEERS)}")
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 10)
    named = [text.split("=", 1) if "=" in text else ["ember", text] for text in chosen.ember]
    chosen.embers = {name: Path(path).resolve() for name, path in named}
    if len(chosen.embers) < len(named) or set(chosen.embers) & set(PEERS):
        parser.error("every Ember needs a name of its own")
    return chosen


def save(chosen: argparse.Namespace, bench: Bench, rows: list) -> str:
    command = shlex.join(["benches/compare", *[word for word in sys.argv[1:]]])
    for hidden in ("tools", "fill", "results"):
        command = command.replace(f" --{hidden} {getattr(chosen, hidden)}", "")
    text = report.whole(bench, rows, command)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "results.md").write_text(text)
    about = {"command": command, "machine": report.machine(), "versions": report.versions(bench), "rounds": bench.rounds,
             "seconds": bench.seconds, "rows": [row.as_json() for row in rows]}
    (chosen.results / "results.json").write_text(json.dumps(about, indent=1) + "\n")
    return text


def main() -> None:
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen.results.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=chosen.results)).resolve()
    rows = []
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        stage = Stage(home, chosen.tools.resolve(), chosen.fill.resolve(), chosen.embers)
        bench = Bench(stage, [*chosen.peers, *chosen.embers], chosen.rounds, chosen.quick,
                      0 if chosen.skip_million else chosen.many)
        ending.callback(bench.end)
        text = ""
        for name in chosen.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += ROWS[name](bench)
            text = save(chosen, bench, rows)
        print(text)


main()

"""Owns what is printed: a table for each row, the machine, and how every peer was set up."""

import os
import re
import subprocess
from pathlib import Path

from bench import Bench, Row
from processes import OTHER_CORE, PROXY_CORE
from stats import added, ratios, spread


def first_line(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True)
    return (run.stdout or run.stderr).splitlines()[0].strip()


def machine() -> dict[str, str]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cpu": model[1] if model else "?", "cores": str(os.cpu_count()), "memory": f"{gigabytes:.0f} GB",
            "kernel": os.uname().release, "load": " ".join(f"{value:.1f}" for value in os.getloadavg())}


def versions(bench: Bench) -> dict[str, str]:
    found = {"nginx": first_line("nginx", "-v").split("/")[-1], "haproxy": first_line("haproxy", "-v").split()[2]}
    for name, binary in bench.stage.embers.items():
        found[name] = first_line(str(binary), "--version").split()[-1]
    return {name: version for name, version in found.items() if name in bench.names}


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def cell(figures: dict[str, float] | None) -> str:
    if not figures:
        return "-"
    text = number(figures["median"])
    if figures["min"] == figures["max"]:
        return text
    return f"{text} ({number(figures['min'])} .. {number(figures['max'])})"


def table(row: Row) -> str:
    present = {name: spread(series) for name, series in row.values.items() if series}
    bases = [base for base in row.bases if base in present and not row.absolute]
    columns = {base: ratios(row.values, base) for base in bases}
    less = {}
    if row.absolute and "direct" in present:
        less = {name: spread(series) for name, series in added(row.values, "direct").items()}
    head = ["peer", row.unit, *[f"/ {base}" for base in bases], *(["more than direct"] if less else [])]
    lines = [f"### {row.name}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, figures in present.items():
        cells = [name, cell(figures), *[cell(columns[base].get(name)) if base != name else "1" for base in bases]]
        if less:
            cells.append(cell(less.get(name)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *[f"- {note}" for note in row.notes], ""])


def peers(bench: Bench) -> str:
    known = versions(bench)
    lines = ["| peer | version | set up | access log |", "|---|---|---|---|"]
    for name in bench.names:
        peer = bench.stage.peer(name)
        lines.append(f"| {name} | {known.get(name, '-')} | {peer.setup} | {peer.access_log} |")
    return "\n".join(lines)


def whole(bench: Bench, rows: list[Row], command: str) -> str:
    about = machine()
    return "\n".join([
        "# Figures of benches/compare", "",
        f"- command: `{command}`",
        f"- machine: {about['cores']} cores ({about['cpu']}), {about['memory']} memory, Linux {about['kernel']}, load {about['load']}",
        f"- {bench.rounds} rounds in turn, {bench.seconds} s each after 0.2 s; medians, smallest and largest in brackets; "
        "ratios are of the same round",
        f"- every proxy on core {PROXY_CORE} alone; the load generator and the model server on core {OTHER_CORE}",
        "", peers(bench), "", *[table(row) for row in rows]])

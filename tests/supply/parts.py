"""Owns what Ember is made of: crates, licences, bans, sources, unsafe code. Each check answers with its faults."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from report import ROOT, cargo, figure, not_tried

# Whoever takes one more crate in raises these, in the commit that says why.
CRATES_IN_PROGRAM_MAX = 145
CRATES_IN_BUILD_MAX = 170
CARGO_DENY = "0.20.2"


def read_toml(name):
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def tree(edges, *more):
    """Of cargo's tree each package once, as `NAME vVERSION`, and ` (SOURCE)` where that is not crates.io."""
    lines = cargo("tree", "--edges", edges, "--prefix", "none", "--format", "{p}", *more).splitlines()
    return {line.removesuffix(" (*)").removesuffix(" (proc-macro)") for line in lines if line}


def is_own(package):
    return package.startswith("ember-gateway v")


def strangers(packages):
    return {package for package in packages if not is_own(package)}


def crates():
    faults = []
    for name, edges, most in (("crates in the program", "normal,no-proc-macro", CRATES_IN_PROGRAM_MAX),
                              ("crates in its build, with macros and build scripts", "normal,build", CRATES_IN_BUILD_MAX)):
        count = len(strangers(tree(edges)))
        figure(name, count, f"be at most {most}")
        if count > most:
            faults.append(f"{count} {name}, at most {most} were agreed on")
    return faults


def is_allowed(expression, allowed):
    """Whether a licence expression (SPDX; the old `/` is OR) can be met with what is allowed. AND binds closer than OR."""
    words = re.findall(r"[()]|[^\s()/]+", expression.replace("/", " OR "))

    def either():
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one():
        word = words.pop(0)
        if word == "(":
            met = either()
            if words.pop(0) != ")":
                raise ValueError(expression)
            return met
        if words[:1] == ["WITH"]:
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in allowed

    try:
        met = either()
    except (IndexError, ValueError):
        return False
    return met and not words


def licences():
    allowed = set(read_toml("deny.toml")["licenses"]["allow"])
    sample = {"MIT", "A WITH B"}
    for expression, met in (("MIT OR GPL", True), ("GPL/MIT", True), ("GPL AND MIT", False), ("(GPL OR MIT) AND A WITH B", True),
                            ("A", False), ("GPL OR GPL AND MIT", False), ("MIT MIT", False), ("(MIT", False), ("", False)):
        assert is_allowed(expression, sample) == met, expression
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    faults = [f"{one['name']} {one['version']}: {one['license'] or 'no licence'}" for one in packages
              if not is_allowed(one["license"] or "", allowed)]
    figure(f"crates with a licence that is not allowed, of {len(packages)}", len(faults), "be 0")
    return faults


def locked():
    return read_toml("Cargo.lock")["package"]


def bans():
    banned = {one["crate"]: one["reason"] for one in read_toml("deny.toml")["bans"]["deny"]}
    faults = [f"{one['name']}: {banned[one['name']]}" for one in locked() if one["name"] in banned]
    figure(f"banned crates in Cargo.lock, of {len(banned)} that are banned", len(faults), "be 0")
    return faults


def sources():
    """Everything in Cargo.lock has one and the same source and a checksum; and cargo names no source but crates.io."""
    packages = [one for one in locked() if one["name"] != "ember-gateway"]
    faults = [f"{one['name']} has no checksum" for one in packages if "checksum" not in one]
    places = {one.get("source", "a path") for one in packages}
    if len(places) != 1:
        faults.append(f"several sources: {', '.join(sorted(places))}")
    faults += [package for package in strangers(tree("normal,build,dev", "--target", "all", "--all-features"))
               if "(" in package]
    figure(f"crates from elsewhere than crates.io, of {len(packages)}", len(faults), "be 0")
    return faults


def no_unsafe():
    faults = []
    if read_toml("Cargo.toml")["lints"]["rust"].get("unsafe_code") != "forbid":
        faults.append('Cargo.toml has no lint `unsafe_code = "forbid"`')
    files = [file for folder in ("src", "benches", "examples", "tests") for file in sorted((ROOT / folder).rglob("*.rs"))]
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"\bunsafe\b|\bunsafe_code\b", line):
                faults.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    figure(f"uses of unsafe in Ember's own {len(files)} files", len(faults), "be 0")
    return faults


def cargo_deny():
    """At full size cargo installs it where it is missing; some minutes."""
    if not shutil.which("cargo-deny"):
        if os.environ.get("EMBER_PROOF") != "full":
            not_tried("cargo-deny, which is not installed; licences, bans and sources were looked at above, advisories were not")
            return None
        if subprocess.run(["cargo", "install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY]).returncode:
            return [f"cargo could not install cargo-deny {CARGO_DENY}, see above"]
    checks = ["licenses", "bans", "sources"]
    if (Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "advisory-dbs").is_dir():
        checks.append("advisories")
    else:
        figure("advisories", "no database is at hand; `cargo deny fetch` gets one", "pass where there is one")
    run = subprocess.run(["cargo", "deny", "--locked", "--offline", "check", *checks], cwd=ROOT)
    figure(f"cargo deny check {' '.join(checks)}", "passed" if run.returncode == 0 else "failed", "pass")
    return [] if run.returncode == 0 else ["see above"]

"""Owns builds without a network, and whether two of them are the same to the bit."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from report import ROOT, cargo, figure, not_tried


def alone():
    """The command in front of one that is to have no network."""
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    not_tried("a build in a network namespace of its own: it takes root; cargo was told --offline")
    return []


def build(path, flags=""):
    """From nothing but the commit's files and what was fetched. The hash of the program."""
    shutil.rmtree(path / "target", ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    if flags:
        environment["RUSTFLAGS"] = f"{environment.get('RUSTFLAGS', '')} {flags}".strip()
    run = subprocess.run([*alone(), "cargo", "build", "--quiet", "--release", "--locked", "--offline", "--bin", "ember"],
                         cwd=path, env=environment)
    return hashlib.sha256((path / "target" / "release" / "ember").read_bytes()).hexdigest() if run.returncode == 0 else None


def builds():
    cargo("fetch")
    files = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder).resolve() / "here", Path(folder).resolve() / "some" / "where" / "else"
        for path in (here, there):
            path.mkdir(parents=True)
            subprocess.run(["tar", "-x", "-C", path], input=files, check=True)
        first = build(here)
        figure("a build without a network", "succeeds" if first else "fails", "succeed")
        if not first:
            return ["cargo build --offline failed"]
        again = build(here)
        figure("two builds in one path", "the same" if first == again else "different", "be the same")
        faults = [] if first == again else [f"{first} and {again}"]
        same = first == build(there)
        figure("builds in two paths", "the same" if same else "different")
        if not same:
            pair = {build(path, f"--remap-path-prefix={path}=/ember") for path in (here, there)}
            figure("builds in two paths with --remap-path-prefix", "the same" if len(pair) == 1 else "different")
        return faults

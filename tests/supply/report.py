"""Says what the checks of supply showed, and runs cargo for them. Knows nothing of what is checked."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def figure(name, value, must=None):
    print(f"proof: {name}: {value}" + (f" (must {must})" if must else ""), flush=True)


def not_tried(what):
    print(f"not tried: {what}", flush=True)


def cargo(*args):
    """Without a network where everything is fetched; else cargo fetches it."""
    for how in (["--offline"], []):
        run = subprocess.run(["cargo", *args, "--locked", *how], cwd=ROOT, capture_output=True, text=True)
        if run.returncode == 0:
            return run.stdout
    sys.exit(f"cargo {' '.join(args)}: {run.stderr}")

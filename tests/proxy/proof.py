"""Owns the size of these proofs and what they showed: tests/prove looks for the lines that pytest ends with."""

import os

FIGURES: list[str] = []


def size(small: int, full: int) -> int:
    """The number for every day, or the one that the laws say: tests/prove sets EMBER_PROOF to `full`."""
    return full if os.environ.get("EMBER_PROOF") == "full" else small


def show(name: str, value: object, must: str) -> None:
    FIGURES.append(f"proof: {name}: {value} (must {must})")

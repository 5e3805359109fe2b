"""Owns the arithmetic: values by peer and round become medians and ratios of the same round."""

from statistics import median


def spread(values: list[float]) -> dict[str, float]:
    """The median, and the quartiles as the values next to them."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"median": median(ordered), "low": ordered[last // 4], "high": ordered[last - last // 4],
            "min": ordered[0], "max": ordered[-1]}


def ratios(values: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Each peer over `base`, round by round: what disturbs a round disturbs both."""
    if base not in values or not all(values[base]):
        return {}
    return {name: spread([own / other for own, other in zip(series, values[base])])
            for name, series in values.items() if name != base and len(series) == len(values[base])}


def added(values: dict[str, list[float]], base: str) -> dict[str, list[float]]:
    """Each peer less `base`, round by round."""
    return {name: [own - other for own, other in zip(series, values[base])]
            for name, series in values.items() if name != base}

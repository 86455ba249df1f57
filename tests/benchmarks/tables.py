"""Results as tables: medians, and ratios of medians to the first contestant."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from tests.benchmarks.measuring import Result


class Ratio(NamedTuple):
    """How a contestant compares with the first one of its case.

    *of_medians* is the ratio of the medians over all rounds; *lowest* and *highest* are those of
    the ratios within a round.
    """

    of_medians: float
    lowest: float
    highest: float


def metrics(result: Result) -> list[str]:
    """Return the metrics of a result, each once, in the order in which they came."""
    played = [measured for rounds in result.rounds.values() for measured in rounds]
    return list(dict.fromkeys(metric for measured in played for metric in measured))


def values(result: Result, name: str, metric: str) -> list[float]:
    """Return what a contestant's rounds gave; nothing where it does not know the metric."""
    return [measured[metric] for measured in result.rounds[name] if metric in measured]


def ratio(result: Result, name: str, metric: str) -> Ratio | None:
    """Compare a contestant with the first one; None where there is nothing to compare."""
    own = values(result, name, metric)
    base = values(result, result.contestants[0].name, metric)
    if not own or not base or not all(base):
        return None
    within = [ours / theirs for ours, theirs in zip(own, base, strict=True)]
    return Ratio(median(own) / median(base), min(within), max(within))


def table(result: Result) -> str:
    """Write a result as text: a row for each metric and contestant."""
    rows: list[tuple[str, ...]] = [
        ("", "", "median", "min - max", f"x of {result.contestants[0].name} (min - max)")
    ]
    for metric in metrics(result):
        for contestant in result.contestants:
            rows.extend(_row(result, contestant.name, metric))
    notes = [f"  {each.name}: {each.how}" for each in result.contestants]
    notes += [f"  {each.name}: did not take part: {each.reason}" for each in result.missing]
    return "\n".join([f"== {result.case.title} ({result.case.name})", *_aligned(rows), *notes, ""])


def _row(result: Result, name: str, metric: str) -> Iterable[tuple[str, ...]]:
    measured = values(result, name, metric)
    if measured:
        spread = f"{_short(min(measured))} - {_short(max(measured))}"
        yield metric, name, _short(median(measured)), spread, _compared(result, name, metric)


def _compared(result: Result, name: str, metric: str) -> str:
    found = ratio(result, name, metric)
    if found is None or name == result.contestants[0].name:
        return ""
    return f"{found.of_medians:.2f} ({found.lowest:.2f} - {found.highest:.2f})"


def _short(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

"""The benchmark still runs: every case end to end in its smallest form, ours and the limit."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.alone import entrant_of
from tests.benchmarks.cases.every import CASES
from tests.benchmarks.charts import Line, Point, chart, lines
from tests.benchmarks.draining import DrainRecord, judge
from tests.benchmarks.measuring import Case, Contestant, Measured, Missing, Result, measure
from tests.benchmarks.queues import Kind, Queue
from tests.benchmarks.reports import report
from tests.benchmarks.sizes import TINY
from tests.benchmarks.tables import metrics, ratio, table, values


def _name_of(case: Case) -> str:
    return case.name


@pytest.mark.slow  # servers, processes and peers
@pytest.mark.parametrize("case", CASES, ids=_name_of)
def test_a_case_measures_everybody_and_can_be_told(case: Case) -> None:
    result = measure(case, TINY)

    assert len(result.contestants) >= 2
    assert result.missing == ()
    for contestant in result.contestants:
        (measured,) = result.rounds[contestant.name]
        assert measured
        assert contestant.name in table(result)
    assert case.name in json.loads(json.dumps(report(TINY, [result])))["cases"]
    assert len(lines([result])) == (2 if case.name.startswith("backlog-") else 0)


def _case(**plays: Callable[[], Measured]) -> Case:
    contestants = [Contestant(name=name, how="as is", play=play) for name, play in plays.items()]
    return Case(name="case", title="A case", enter=lambda _sizes, _stack: contestants)


def _gives(*numbers: float) -> Callable[[], Measured]:
    given = iter(numbers)
    return lambda: {"jobs/s": next(given)}


def _result(**rounds: tuple[float, ...]) -> Result:
    plays = {name: _gives(0, *numbers) for name, numbers in rounds.items()}
    played = max(len(numbers) for numbers in rounds.values())
    return measure(_case(**plays), _ROUNDS[played])


_ROUNDS: Final = {number: replace(TINY, rounds=number) for number in range(1, 4)}


def test_contestants_play_in_turns_and_each_begins_once() -> None:
    turns = count()
    order: dict[str, list[int]] = {"a": [], "b": []}

    def play(name: str) -> Measured:
        order[name].append(next(turns))
        return {"jobs/s": 1}

    measure(_case(a=lambda: play("a"), b=lambda: play("b")), _ROUNDS[3])

    assert order == {"a": [0, 3, 4, 7], "b": [1, 2, 5, 6]}


def test_a_ratio_is_of_medians_with_the_spread_within_rounds() -> None:
    result = _result(limit=(10, 20, 40), ours=(5, 20, 10))

    assert metrics(result) == ["jobs/s"]
    assert values(result, "ours", "jobs/s") == [5, 20, 10]  # the first round was not counted
    assert ratio(result, "ours", "jobs/s") == (0.5, 0.25, 1.0)
    assert "0.50 (0.25 - 1.00)" in table(result)


def test_nothing_is_compared_with_zero() -> None:
    result = _result(limit=(0, 0), ours=(1, 0))

    assert ratio(result, "ours", "jobs/s") is None


def test_who_cannot_take_part_is_named_with_the_reason() -> None:
    def open_queue(_url: str) -> Queue:
        raise ImportError("No module named 'absent'\nand more")

    kind = Kind(name="absent", how="absent (not installed)", open=open_queue)
    missing = entrant_of(kind, lambda: kind.open("url").close)  # pyright: ignore[reportArgumentType]  # never got so far

    assert missing == Missing("absent", "absent (not installed): No module named 'absent'")


def test_a_drain_is_judged_by_what_everybody_saw() -> None:
    first = DrainRecord(["1", "2"], [(0.0, 0.1), (0.2, 0.5)], empty_at=[0.15], completed_at=1.0)
    second = DrainRecord(["2"], [(0.3, 0.4)], empty_at=[0.6], lock_errors=1, completed_at=2.0)

    judged = judge([first, second], 4)

    assert judged["jobs/s"] == 2
    assert judged["wrongly empty"] == 1  # at 0.15 a job still waited that was claimed at 0.3
    assert judged["duplicates"] == 1
    assert judged["never claimed"] == 2
    assert judged["lock errors"] == 1
    assert judged["least share"] == 0.5


def test_a_chart_is_well_formed_and_draws_every_point() -> None:
    drawn = chart([Line("claim <of> 1", (Point(0, 50), Point(1_000, 60), Point(100_000, 70)))])

    image = ET.fromstring(drawn)
    assert len(image.findall("{http://www.w3.org/2000/svg}circle")) == 3
    assert any(text.text == "claim <of> 1" for text in image.iter())

"""Two or three callers at once: in whatever order their statements run, a job ends once.

The full form, every order of every scenario on both databases:
`python -m tests.faults.interleavings`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Engine

from tests.faults.drivers import watched_engine
from tests.faults.interleavings.explorer import Outcome, outcomes_of
from tests.faults.interleavings.scenarios import FEW_SCHEDULES, MANY_SCHEDULES, Scenario
from tests.faults.interleavings.scheduler import Choose, Scheduler, every_schedule, random_schedules

pytest_plugins = ["tests.support.databases"]

_AT_MOST: Final = {"sqlite": 60, "postgresql": 30}


class Stalled(NamedTuple):
    """A database whose callers can be held before each statement."""

    engine: Engine
    scheduler: Scheduler

    def run(self, scenario: Scenario, schedules: Iterable[Choose]) -> Counter[Outcome]:
        return outcomes_of(scenario, self.engine, self.scheduler, schedules)


@pytest.fixture
def stalled(shared_database_url: str) -> Iterator[Stalled]:
    scheduler = Scheduler()
    engine = watched_engine(shared_database_url, scheduler, pool_size=4)
    yield Stalled(engine, scheduler)
    engine.dispose()


def test_callers_have_one_outcome_in_every_order_of_their_statements(stalled: Stalled) -> None:
    for scenario in FEW_SCHEDULES:
        assert set(stalled.run(scenario, every_schedule())) == set(scenario.outcomes), scenario.name


def test_callers_have_one_outcome_in_random_orders_of_many_statements(
    stalled: Stalled,
) -> None:
    number = _AT_MOST[stalled.engine.dialect.name]
    for scenario in MANY_SCHEDULES:
        assert sum(stalled.run(scenario, random_schedules(number, seed=1)).values()) == number


def test_every_order_of_two_and_three_steps_is_given_once() -> None:
    """Were orders left out, the tests above would prove less than they say."""
    schedules: list[str] = []
    for choose in every_schedule():
        left, order = {"a": 2, "b": 3}, ""
        while ready := [name for name in left if left[name]]:
            name = ready[choose(range(len(ready)))]
            left[name] -= 1
            order += name
        schedules.append(order)

    assert len(schedules) == len(set(schedules)) == 10  # 5! / (2! 3!)

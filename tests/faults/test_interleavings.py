"""Two or three callers at once: in whatever order their statements run, a job ends once.

The full form, every order of every scene on both databases:
`python -m tests.faults.interleavings`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import pytest
from sqlalchemy import Engine

from tests.faults.drivers import watched_engine
from tests.faults.interleavings.explorer import Outcome, outcomes_of
from tests.faults.interleavings.scenarios import FEW_ORDERS, MANY_ORDERS, Scene
from tests.faults.interleavings.scheduler import Choose, Turns, every_order, random_orders

pytest_plugins = ["tests.support.databases"]

_AT_MOST: Final = {"sqlite": 60, "postgresql": 30}


class Stalled(NamedTuple):
    """A database whose callers can be held before each statement."""

    engine: Engine
    turns: Turns

    def play(self, scene: Scene, orders: Iterable[Choose]) -> Counter[Outcome]:
        return outcomes_of(scene, self.engine, self.turns, orders)


@pytest.fixture
def stalled(shared_database_url: str) -> Iterator[Stalled]:
    turns = Turns()
    engine = watched_engine(shared_database_url, turns, places=4)
    yield Stalled(engine, turns)
    engine.dispose()


def test_callers_have_one_outcome_in_every_order_of_their_statements(stalled: Stalled) -> None:
    for scene in FEW_ORDERS:
        assert set(stalled.play(scene, every_order())) == set(scene.outcomes), scene.name


def test_callers_have_one_outcome_in_random_orders_of_many_statements(
    stalled: Stalled,
) -> None:
    number = _AT_MOST[stalled.engine.dialect.name]
    for scene in MANY_ORDERS:
        assert sum(stalled.play(scene, random_orders(number, seed=1)).values()) == number


def test_every_order_of_two_and_three_steps_is_given_once() -> None:
    """Were orders left out, the tests above would prove less than they say."""
    orders: list[str] = []
    for choose in every_order():
        left, order = {"a": 2, "b": 3}, ""
        while ready := [name for name in left if left[name]]:
            name = ready[choose(range(len(ready)))]
            left[name] -= 1
            order += name
        orders.append(order)

    assert len(orders) == len(set(orders)) == 10  # 5! / (2! 3!)

"""The full form of the interleavings, as a command: `python -m tests.faults.interleavings`.

Every order of every scene on SQLite; on PostgreSQL every order of scenes with few, and as many
random ones of the others as are asked for. It ends with an error at the first broken promise.
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from tests.faults.both_databases import both_databases
from tests.faults.drivers import watched_engine
from tests.faults.interleavings.explorer import outcomes_of
from tests.faults.interleavings.scenarios import FEW_ORDERS, MANY_ORDERS
from tests.faults.interleavings.scheduler import Choose, Turns, every_order, random_orders

_CONNECTIONS: Final = 4


class _Asked(argparse.Namespace):
    postgresql: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--postgresql", type=int, default=500, help="random orders of each scene with many"
    )
    asked = parser.parse_args(namespace=_Asked())
    logging.disable(logging.WARNING)  # every refused report is one
    with both_databases() as urls:
        _run("SQLite", urls["SQLite"], every_order)
        _run("PostgreSQL", urls["PostgreSQL"], partial(random_orders, asked.postgresql, seed=1))


def _run(name: str, url: str, orders_of_many: Callable[[], Iterable[Choose]]) -> None:
    turns, began_at = Turns(), time.monotonic()
    engine = watched_engine(url, turns, places=_CONNECTIONS)
    orders = 0
    for scene in FEW_ORDERS:
        outcomes = outcomes_of(scene, engine, turns, every_order())
        assert set(outcomes) == set(scene.outcomes), scene.name
        orders += outcomes.total()
    for scene in MANY_ORDERS:
        orders += outcomes_of(scene, engine, turns, orders_of_many()).total()
    engine.dispose()
    scenes = len(FEW_ORDERS) + len(MANY_ORDERS)
    took_seconds = time.monotonic() - began_at
    print(
        f"{name}: {orders} orders of the statements in {scenes} scenes, exactly one outcome in "
        f"each; {took_seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()

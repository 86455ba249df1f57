"""The full form of the interleavings, as a command: `python -m tests.faults.interleavings`.

Every order of every scenario on SQLite; on PostgreSQL every order of those with few, and as many
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
from tests.faults.interleavings.scenarios import FEW_SCHEDULES, MANY_SCHEDULES
from tests.faults.interleavings.scheduler import Choose, Scheduler, every_schedule, random_schedules

_CONNECTIONS: Final = 4


class _Asked(argparse.Namespace):
    postgresql: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--postgresql", type=int, default=500, help="random orders of each scenario with many"
    )
    asked = parser.parse_args(namespace=_Asked())
    logging.disable(logging.WARNING)  # every refused report is one
    with both_databases() as urls:
        _run("SQLite", urls["SQLite"], every_schedule)
        _run("PostgreSQL", urls["PostgreSQL"], partial(random_schedules, asked.postgresql, seed=1))


def _run(name: str, url: str, schedules_of_many: Callable[[], Iterable[Choose]]) -> None:
    scheduler, began_at = Scheduler(), time.monotonic()
    engine = watched_engine(url, scheduler, pool_size=_CONNECTIONS)
    schedules = 0
    for scenario in FEW_SCHEDULES:
        outcomes = outcomes_of(scenario, engine, scheduler, every_schedule())
        assert set(outcomes) == set(scenario.outcomes), scenario.name
        schedules += outcomes.total()
    for scenario in MANY_SCHEDULES:
        schedules += outcomes_of(scenario, engine, scheduler, schedules_of_many()).total()
    engine.dispose()
    scenarios = len(FEW_SCHEDULES) + len(MANY_SCHEDULES)
    took_seconds = time.monotonic() - began_at
    print(
        f"{name}: {schedules} orders of the statements in {scenarios} scenarios, exactly one "
        f"outcome in each; {took_seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()

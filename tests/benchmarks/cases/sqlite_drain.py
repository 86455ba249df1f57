"""SQLite: several processes drain one database."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from tests.benchmarks import ours, raw_sqlite
from tests.benchmarks.databases import sqlite_databases
from tests.benchmarks.draining import Drainable, drain, judge
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.processes import run_together
from tests.benchmarks.sizes import Sizes


def _enter(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    make_database = sqlite_databases(stack)
    durability = "WAL, synchronous=NORMAL"
    return [
        Contestant(
            name="raw sqlite3",
            how=durability,
            play=partial(_play, sizes, raw_sqlite.OneByOne, make_database()),
        ),
        Contestant(
            name="ours", how=durability, play=partial(_play, sizes, ours.OneByOne, make_database())
        ),
    ]


def _play[C](sizes: Sizes, open_queue: Callable[[str], Drainable[C]], url: str) -> Measured:
    filling = open_queue(url)
    filling.add(sizes.drained)
    filling.close()
    everybody = run_together(partial(drain, open_queue, url), sizes.drainers)
    return judge(everybody, sizes.drained)


CASES: Final = (
    Case(name="sqlite-drain", title="SQLite, several processes drain one database", enter=_enter),
)

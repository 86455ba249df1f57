"""All cases, in the order in which they are played."""

from typing import Final

from tests.benchmarks.cases import (
    backlog,
    events,
    files,
    postgres_queues,
    sqlite_drain,
    sqlite_queues,
    starting,
    waking,
)
from tests.benchmarks.measuring import Case

CASES: Final[tuple[Case, ...]] = (
    *sqlite_queues.CASES,
    *sqlite_drain.CASES,
    *postgres_queues.CASES,
    *backlog.CASES,
    *files.CASES,
    *events.CASES,
    *waking.CASES,
    *starting.CASES,
)

"""Queues measured in several processes at once, all on one database."""

import gc
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from tests.benchmarks.alone import entrant_of
from tests.benchmarks.databases import MakeDatabase
from tests.benchmarks.measuring import Entrant, Measured
from tests.benchmarks.processes import StartBarrier, run_together
from tests.benchmarks.queues import Kind, Queue

_WARM_UP = 10


class _Span(NamedTuple):
    began: float
    ended: float


def enter_together(
    kinds: Iterable[Kind], make_database: MakeDatabase, number: int, processes: int
) -> list[Entrant]:
    """Let each kind's processes share the jobs of a round, each process its own queue."""
    return [
        entrant_of(kind, partial(_ready, kind, make_database, number // processes, processes))
        for kind in kinds
    ]


def _ready(
    kind: Kind, make_database: MakeDatabase, share: int, processes: int
) -> Callable[[], Measured]:
    url = make_database()
    kind.open(url).close()  # makes the tables, or tells why it cannot
    return partial(_play, partial(_cycle, kind.open, url, share), share * processes, processes)


def _play(run: Callable[[StartBarrier], _Span], number: int, processes: int) -> Measured:
    spans = run_together(run, processes)
    began, ended = min(span.began for span in spans), max(span.ended for span in spans)
    return {"cycles/s": number / (ended - began)}


def _cycle(
    open_queue: Callable[[str], Queue], url: str, share: int, barrier: StartBarrier
) -> _Span:
    queue = open_queue(url)
    queue.cycle(_WARM_UP)
    gc.collect()  # what the imports left for it costs 75 ms, once in the life of a process
    barrier.wait()
    began = time.monotonic()
    queue.cycle(share)
    ended = time.monotonic()
    queue.close()
    return _Span(began, ended)

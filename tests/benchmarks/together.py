"""Queues measured in several processes at once, all on one database."""

import gc
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from tests.benchmarks.alone import entrant_of
from tests.benchmarks.crowds import Gate, run_together
from tests.benchmarks.measuring import Entrant, Measured
from tests.benchmarks.places import Place
from tests.benchmarks.queues import Kind, Queue

_WARM_UP = 10


class _Span(NamedTuple):
    began: float
    ended: float


def enter_together(
    kinds: Iterable[Kind], place: Place, number: int, processes: int
) -> list[Entrant]:
    """Let each kind's processes share the jobs of a round, each process its own queue."""
    return [
        entrant_of(kind, partial(_ready, kind, place, number // processes, processes))
        for kind in kinds
    ]


def _ready(kind: Kind, place: Place, share: int, processes: int) -> Callable[[], Measured]:
    url = place()
    kind.open(url).close()  # makes the tables, or tells why it cannot
    return partial(_play, partial(_cycle, kind.open, url, share), share * processes, processes)


def _play(run: Callable[[Gate], _Span], number: int, processes: int) -> Measured:
    spans = run_together(run, processes)
    began, ended = min(span.began for span in spans), max(span.ended for span in spans)
    return {"cycles/s": number / (ended - began)}


def _cycle(open_queue: Callable[[str], Queue], url: str, share: int, gate: Gate) -> _Span:
    queue = open_queue(url)
    queue.cycle(_WARM_UP)
    gc.collect()  # what the imports left for it costs 75 ms, once in the life of a process
    gate.wait()
    began = time.monotonic()
    queue.cycle(share)
    ended = time.monotonic()
    queue.close()
    return _Span(began, ended)

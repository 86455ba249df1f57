"""Queues measured one process at a time, each in a process of its own.

Nobody shares another's imports, which the garbage collector walks through, nor its threads.
"""

import gc
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from functools import partial

from tests.benchmarks.databases import MakeDatabase
from tests.benchmarks.measuring import Contestant, Entrant, Measured, Missing
from tests.benchmarks.queues import Kind, Queue, rates
from tests.support.processes import Generation

_WARM_UP = 10
_TIMEOUT_SECONDS = 300


def enter_alone(
    kinds: Iterable[Kind], make_database: MakeDatabase, number: int, stack: ExitStack
) -> list[Entrant]:
    """Open every queue in a process; one that cannot be opened is named, with the reason."""
    return [entrant_of(kind, partial(_open, kind, make_database, number, stack)) for kind in kinds]


def entrant_of(kind: Kind, enter: Callable[[], Callable[[], Measured]]) -> Entrant:
    """Let a kind of queue take part, unless it fails at its start."""
    try:
        return Contestant(name=kind.name, how=kind.how, play=enter())
    except Exception as error:  # noqa: BLE001  # other libraries: the reason is printed
        cause = error.__cause__ if isinstance(error, ChildProcessError) else error
        text = str(cause).strip() or type(error).__name__
        return Missing(kind.name, f"{kind.how}: {text.splitlines()[0]}")


def _open(
    kind: Kind, make_database: MakeDatabase, number: int, stack: ExitStack
) -> Callable[[], Measured]:
    player = stack.enter_context(
        closing(Generation(partial(_rounds, kind, make_database(), number)))
    )
    player.next()
    return partial(player.next, _TIMEOUT_SECONDS)


def _rounds(kind: Kind, url: str, number: int) -> Generator[Measured]:
    """Yield when the queue is open, then after each round what it measured."""
    with closing(kind.open(url)) as queue:
        queue.cycle(_WARM_UP)
        gc.collect()  # what the imports left for it costs 75 ms, once in the life of a process
        yield {}
        while True:
            yield _play(queue, number)


def _play(queue: Queue, number: int) -> Measured:
    """Measure a cycle; the processor's time tells more than the clock on a busy machine."""
    began = time.process_time()
    phases = queue.cycle(number)
    used = time.process_time() - began
    return {**rates(number, phases), "CPU us/cycle": used / number * 1e6}

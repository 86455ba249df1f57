"""Queues measured one process at a time."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial

from tests.benchmarks.measuring import Contestant, Entrant, Measured, Missing
from tests.benchmarks.places import Place
from tests.benchmarks.queues import Kind, Queue, rates

_WARM_UP = 10


def enter_alone(
    kinds: Iterable[Kind], place: Place, number: int, stack: ExitStack
) -> list[Entrant]:
    """Open every queue in this process; one that cannot be opened is named, with the reason."""
    return [entrant_of(kind, lambda kind=kind: _open(kind, place, number, stack)) for kind in kinds]


def entrant_of(kind: Kind, enter: Callable[[], Callable[[], Measured]]) -> Entrant:
    """Let a kind of queue take part, unless it fails at its start."""
    try:
        return Contestant(name=kind.name, how=kind.how, play=enter())
    except Exception as error:  # noqa: BLE001  # other libraries: the reason is printed
        text = str(error).strip() or type(error).__name__
        return Missing(kind.name, f"{kind.how}: {text.splitlines()[0]}")


def _open(kind: Kind, place: Place, number: int, stack: ExitStack) -> Callable[[], Measured]:
    queue = kind.open(place())
    stack.callback(queue.close)
    queue.cycle(_WARM_UP)
    return partial(_play, queue, number)


def _play(queue: Queue, number: int) -> Measured:
    """Measure a cycle; the processor's time tells more than the clock on a busy machine."""
    began = time.process_time()
    phases = queue.cycle(number)
    used = time.process_time() - began
    return {**rates(number, phases), "CPU us/cycle": used / number * 1e6}

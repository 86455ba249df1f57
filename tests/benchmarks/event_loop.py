"""How long a call keeps an event loop from everything else, and how much memory it takes."""

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

_TICK_SECONDS: Final = 0.001
_MB: Final = 1 << 20


@dataclass(slots=True)
class Held:
    """What was seen of an event loop during a call.

    Args:
        seconds: how long the call took.
        longest_ms: the longest time for which the loop did not come back to others.
        grown_mb: by how much the memory of the process (RSS) was higher than before, at its peak.
    """

    seconds: float = 0
    longest_ms: float = 0
    grown_mb: float = 0


async def watch_loop(call: Callable[[], Awaitable[object]]) -> Held:
    """Make a call while a task ticks every millisecond; tell what the ticks saw."""
    held = Held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tick, held)
        await anyio.sleep(2 * _TICK_SECONDS)
        held.longest_ms = 0
        began = time.perf_counter()
        await call()
        held.seconds = time.perf_counter() - began
        await anyio.sleep(2 * _TICK_SECONDS)
        tasks.cancel_scope.cancel()
    return held


async def _tick(held: Held) -> None:
    before = _resident_mb()
    while True:
        began = time.perf_counter()
        await anyio.sleep(_TICK_SECONDS)
        late = time.perf_counter() - began - _TICK_SECONDS
        held.longest_ms = max(held.longest_ms, late * 1e3)
        held.grown_mb = max(held.grown_mb, _resident_mb() - before)


def _resident_mb() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / _MB

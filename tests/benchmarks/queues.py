"""What every queue is asked to do: to add jobs, to hand them out, and to take their results."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import uuid4

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.measuring import Measured

TASK_TYPE: Final = "image_resize"
PARAMS: Final[JsonObject] = {
    "input_paths": ["input/a-picture-of-a-holiday-at-the-sea.jpg"],
    "output_paths": ["output/a-picture-of-a-holiday-at-the-sea.png"],
    "width": 1280,
    "height": 720,
    "maintain_aspect_ratio": True,
}
"""About 190 bytes of JSON."""
OUTPUT: Final[JsonObject] = {"files": ["output/a-picture-of-a-holiday-at-the-sea.png"], "ms": 12}

type Phases = Mapping[str, float]
"""Seconds that each part of a cycle took, by its name: `add`, then `claim` and `complete`, or both
at once as `work`."""


class Queue(Protocol):
    """A queue, open and empty."""

    def cycle(self, number: int) -> Phases:
        """Add this many jobs, then claim and complete as many; tell how long each part took."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of queue.

    Args:
        name: what it is called.
        how: how it is used, and how durable it is.
        open: opens one on the URL of a database; picklable, for other processes open it too.
    """

    name: str
    how: str
    open: Callable[[str], Queue]


def timed(number: int, **parts: Callable[[int], object]) -> Phases:
    """Run each part of a cycle for this many jobs, one part after the other."""
    took: dict[str, float] = {}
    for name, run in parts.items():
        began = time.perf_counter()
        run(number)
        took[name] = time.perf_counter() - began
    return took


def rates(number: int, phases: Phases) -> Measured:
    """Return jobs a second: of whole cycles, and of each part."""
    parts = {f"{name}/s": number / seconds for name, seconds in phases.items()}
    return {"cycles/s": number / sum(phases.values()), **parts}


class Names:
    """Gives every job an id of its own, whichever process asks."""

    def __init__(self) -> None:
        self._prefix: Final = uuid4().hex
        self._given: int = 0

    def next(self) -> str:
        """Return an id that was never given."""
        self._given += 1
        return f"{self._prefix}-{self._given}"

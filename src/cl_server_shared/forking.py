"""What a forked child must not share with its parent: locks, threads, connections and claims."""

import os
from functools import cache
from typing import Final, Protocol
from weakref import WeakSet


class AfterFork(Protocol):
    """A part that begins anew in a forked child."""

    def after_fork(self) -> None:
        """Leave what belongs to the parent; called in the child's only thread."""
        ...


_PARTS: Final[WeakSet[AfterFork]] = WeakSet()


def renew_after_fork(part: AfterFork) -> None:
    """Call `part.after_fork()` in every child forked while *part* lives."""
    _hook()
    _PARTS.add(part)


@cache
def _hook() -> None:
    """Register once: what `os.register_at_fork` was given stays for ever."""
    os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    for part in list(_PARTS):
        part.after_fork()

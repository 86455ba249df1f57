"""What a forked child must not share with its parent: locks, threads, connections and claims."""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Final, Protocol, final
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


@contextmanager
def no_fork() -> Generator[None]:
    """Let no fork begin while the block runs, for a thread that calls into a database by itself.

    A mutex inside SQLite that is held at the fork stays locked in the child for ever. A block that
    takes longer than a second does not keep the process from forking.
    """
    _hook()
    _FORKS.begin_block()
    try:
        yield
    finally:
        _FORKS.end_block()


@final
class _Forks:
    """Forks and blocks, which wait for each other."""

    _TIMEOUT_SECONDS: Final = 1.0

    def __init__(self) -> None:
        self.after_in_child()

    def after_in_child(self) -> None:
        """Begin without the parent's threads and what they hold."""
        self._changed = threading.Condition()
        self._blocks = 0
        self._is_forking = False

    def begin_block(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking, self._TIMEOUT_SECONDS)
            self._blocks += 1

    def end_block(self) -> None:
        with self._changed:
            self._blocks -= 1
            self._changed.notify_all()

    def before(self) -> None:
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: self._blocks == 0, self._TIMEOUT_SECONDS)

    def after_in_parent(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()


_FORKS: Final = _Forks()


@cache
def _hook() -> None:
    """Register once: what `os.register_at_fork` was given stays for ever."""
    os.register_at_fork(
        before=_FORKS.before, after_in_parent=_FORKS.after_in_parent, after_in_child=_renew
    )


def _renew() -> None:
    _FORKS.after_in_child()
    for part in list(_PARTS):
        part.after_fork()

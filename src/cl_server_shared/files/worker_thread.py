"""Blocking work off the event loop, never left running behind a cancelled caller."""

from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Event, Lock
from typing import final

from anyio import CancelScope, from_thread, get_cancelled_exc_class, to_thread

type Checkpoint = Callable[[], None]
"""Raises, between two steps of work in a thread, once the caller has been cancelled."""


async def run_in_thread[T](work: Callable[[Checkpoint], T]) -> T:
    """Run *work* in a worker thread; cancelled or not, it has ended when this returns.

    *work* is given a checkpoint to call between its steps. It is the same on asyncio and on trio,
    and for a caller that asyncio's own `Task.cancel()` cancels.
    """
    errand = _Work(work)
    try:
        return await to_thread.run_sync(errand.run)
    except BaseException:
        # Scopes of anyio and trio wait for the thread; Task.cancel() leaves it running.
        await errand.abandon()
        raise


@final
class _Work[T]:
    """One piece of work on its way through a thread."""

    def __init__(self, work: Callable[[Checkpoint], T]) -> None:
        self._work = work
        self._begun = Lock()
        self._unwanted = Event()
        self._ended = Event()

    def run(self) -> T:
        """Do the work, unless its caller gave it up before it began."""
        if not self._begun.acquire(blocking=False):
            raise CancelledError
        try:
            return self._work(self._checkpoint)
        finally:
            self._ended.set()

    async def abandon(self) -> None:
        """Make the work stop at its next checkpoint, and wait until it has."""
        self._unwanted.set()
        if self._begun.acquire(blocking=False):
            return
        with CancelScope(shield=True):
            while not self._ended.is_set():
                # Another Task.cancel() must not cut the waiting short.
                with suppress(get_cancelled_exc_class()):
                    await to_thread.run_sync(self._ended.wait)

    def _checkpoint(self) -> None:
        from_thread.check_cancelled()
        if self._unwanted.is_set():
            raise CancelledError

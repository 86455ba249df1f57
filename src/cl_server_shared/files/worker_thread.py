"""Blocking work off the event loop, never left running behind a cancelled caller."""

import errno
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Lock
from typing import Final, final

from anyio import (
    CancelScope,
    CapacityLimiter,
    from_thread,
    get_cancelled_exc_class,
    sleep,
    to_thread,
)

type Checkpoint = Callable[[], None]
"""Raises, between two steps of work in a thread, once the caller has been cancelled."""

_POLL_SECONDS: Final = 0.005


async def run_in_thread[T](
    work: Callable[[Checkpoint], T], limiter: CapacityLimiter | None = None
) -> T:
    """Run *work* in a worker thread; cancelled or not, it has ended when this returns.

    *work* is given a checkpoint to call between its steps. It is the same on asyncio and on trio,
    and for a caller that asyncio's own `Task.cancel()` cancels.

    Args:
        work: what blocks.
        limiter: of the threads at once; None: anyio's own.

    Raises:
        OSError: (EAGAIN) the system refuses another thread; *work* was not called.
    """
    call = _Call(work)
    try:
        return await to_thread.run_sync(call.run, limiter=limiter)
    except BaseException as error:
        # Scopes of anyio and trio wait for the thread; Task.cancel() leaves it running.
        await call.abandon()
        if not call.has_begun and _is_refused_thread(error):
            raise OSError(
                errno.EAGAIN,
                f"the system refuses a thread ({error}): use fewer at once, or allow more with"
                " 'ulimit -u' or the container's limit of processes",
            ) from error
        raise


def _is_refused_thread(error: BaseException) -> bool:
    """Tell CPython's refusals, at the system's limit and at the interpreter's end, from others."""
    return isinstance(error, RuntimeError) and "new thread" in str(error)


@final
class _Call[T]:
    """One call of blocking work, seen by its caller and by its thread."""

    def __init__(self, work: Callable[[Checkpoint], T]) -> None:
        self._work: Final = work
        self._decided: Final = Lock()  # taken by whoever is first: the thread or the caller
        self._is_unwanted = False
        self._has_ended = False
        self.has_begun = False

    def run(self) -> T:
        """Do the work, unless its caller gave it up before it began."""
        if not self._decided.acquire(blocking=False):
            raise CancelledError
        self.has_begun = True
        try:
            return self._work(self._checkpoint)
        finally:
            self._has_ended = True

    async def abandon(self) -> None:
        """Make the work stop at its next checkpoint, and wait until it has."""
        self._is_unwanted = True
        if self._decided.acquire(blocking=False):
            return
        with CancelScope(shield=True):
            # To be woken takes a thread, which may be refused.
            while not self._has_ended:
                # Another Task.cancel() must not cut the waiting short.
                with suppress(get_cancelled_exc_class()):
                    await sleep(_POLL_SECONDS)

    def _checkpoint(self) -> None:
        from_thread.check_cancelled()
        if self._is_unwanted:
            raise CancelledError

"""Events on their way from the broadcaster's thread to a task."""

import logging
from collections import deque
from contextlib import suppress
from typing import Final, final

from anyio.lowlevel import checkpoint

from cl_server_shared.models import JobEvent
from cl_server_shared.waking import LoopWaker

_LOG: Final = logging.getLogger(__name__)


@final
class EventBuffer:
    """A bounded queue for one writer at a time, in any thread, and one reader, a task.

    When it is full the oldest event gives way: what a job is now matters more than what it was.
    There is no lock: each step is one operation on a deque, whole to every thread; a fork finds
    nothing locked, and collected garbage may close it at any point.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity: Final = capacity
        self._events: deque[JobEvent] = deque()
        self._dropped = 0
        self._is_closed = False
        self._waker: LoopWaker | None = None

    @property
    def dropped(self) -> int:
        """How many events have given way."""
        return self._dropped

    def put(self, event: JobEvent) -> None:
        """Add an event at the end and wake the reader; nothing once it is closed."""
        if self._is_closed:
            return
        if len(self._events) >= self._capacity:
            self._drop_oldest()
        self._events.append(event)
        self._wake()

    async def take(self) -> JobEvent | None:
        """Wait for the oldest event and take it; None: the buffer was closed."""
        await checkpoint()  # a reader that is never done must leave others their turn
        while not self._is_closed:
            with suppress(IndexError):  # empty; or the writer has just dropped the last
                return self._events.popleft()  # nothing can be cancelled from here on
            await self._wait()
        return None

    def close(self) -> None:
        """Forget what waits, and end the reader's waiting."""
        self._is_closed = True
        self._events.clear()
        self._wake()

    async def _wait(self) -> None:
        self._waker = LoopWaker()  # of the loop that reads now; first, then look again
        try:
            if not self._events and not self._is_closed:
                await self._waker.wait()
        finally:
            self._waker = None

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _drop_oldest(self) -> None:
        try:
            self._events.popleft()
        except IndexError:
            return  # the reader was faster
        self._dropped += 1
        if self._dropped & (self._dropped - 1) == 0:  # at 1, 2, 4, 8 ...: the log shall not fill
            _LOG.warning(
                "More than %s events wait for the task that reads them: the oldest are dropped, "
                "%s so far",
                self._capacity,
                self._dropped,
            )

"""Events for `async for`, on asyncio and on trio."""

import logging
import weakref
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, final

from anyio.lowlevel import checkpoint

from cl_server_shared.errors import ClServerError, ConfigError
from cl_server_shared.events.in_order import InOrder
from cl_server_shared.models import JobEvent
from cl_server_shared.process.log_limits import Doubling
from cl_server_shared.process.loop_waker import LoopWaker
from cl_server_shared.protocols.events import Broadcaster, Subscription
from cl_server_shared.protocols.fitting import require_port

_LOG: Final = logging.getLogger(__name__)


@final
class EventBuffer:
    """A bounded queue for one writer at a time, in any thread, and one reader, a task.

    When it is full the oldest event is dropped: a job's present state matters more than earlier
    ones. There is no lock: each step is one operation on a deque, whole to every thread; a fork
    finds nothing locked, and collected garbage may close it at any point.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity: Final = capacity
        self._events: Final[deque[JobEvent]] = deque()
        self._dropped: Final = Doubling(_LOG)
        self._is_closed = False
        self._waker: LoopWaker | None = None

    @property
    def dropped(self) -> int:
        """How many events were dropped for newer ones."""
        return self._dropped.count

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
        await checkpoint()  # a reader that is always served must let other tasks run
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
        self._dropped.add(
            "More than %s events wait for the task that reads them: the oldest are dropped, "
            "%s so far",
            self._capacity,
        )


@final
class EventStream:
    """The events of one subscription, for one task at a time; `events` makes it.

    A read that is cancelled loses no event. The stream ends when it is closed: by `aclose`, by
    leaving its `async with` block, or, if an `async for` was all that held it, by leaving that.
    It does not end with its broadcaster.
    """

    def __init__(self, buffer: EventBuffer, *sources: Subscription | InOrder) -> None:
        self._buffer: Final = buffer
        self._is_reading = False
        # What is called back holds the buffer, never the stream: that would not become garbage.
        self._end: Final = weakref.finalize(self, _close, buffer, sources)
        self._end.atexit = False

    @property
    def dropped(self) -> int:
        """How many events were dropped because too many waited."""
        return self._buffer.dropped

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobEvent:
        """Wait for the next event.

        Raises:
            StopAsyncIteration: the stream is closed.
            ClServerError: another task is waiting for the next event.
        """
        if self._is_reading:
            raise ClServerError(
                "another task is reading this EventStream: give each task a stream of its own"
            )
        self._is_reading = True
        try:
            event = await self._buffer.take()
        finally:
            self._is_reading = False
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the subscription, forget what waits, and end a read; harmless when repeated."""
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def events(
    broadcaster: Broadcaster,
    topic: str | None = None,
    *,
    max_waiting: int = 1_000,
    in_order: bool = False,
    wait_ms: int = 1_000,
) -> EventStream:
    """Subscribe at once, and return a stream of the events from now on, for `async for`.

    It may be called before an event loop runs. What this broadcaster publishes from its return on
    is received for sure; what others publish, as `Broadcaster.subscribe` says of each.

    Args:
        broadcaster: whose events.
        topic: the MQTT topic filter to subscribe to instead of the broadcaster's own topic.
        max_waiting: how many events may wait for the reader, 1 or more; beyond it the oldest is
            dropped, counted and logged.
        in_order: give each job's events once and in order; see `InOrder`.
        wait_ms: how long an event is then held for those that it follows, 0 or more.

    Raises:
        ConfigError: an argument is outside what is allowed, *topic* is no topic filter, or
            *broadcaster* is none, such as a provider of one.
        ClServerError: the broadcaster is closed.
    """
    require_port("broadcaster", broadcaster, Broadcaster)
    if max_waiting < 1:
        raise ConfigError(f"max_waiting is {max_waiting}: allowed is 1 or more")
    buffer = EventBuffer(max_waiting)
    if not in_order:
        return EventStream(buffer, broadcaster.subscribe(buffer.put, topic))
    ordered = InOrder(buffer.put, wait_ms=wait_ms)
    return EventStream(buffer, broadcaster.subscribe(ordered, topic), ordered)


def _close(buffer: EventBuffer, sources: tuple[Subscription | InOrder, ...]) -> None:
    for source in sources:
        source.close()
    buffer.close()

"""The ports of events: what a broadcaster may be replaced by.

An implementation inherits its port explicitly, so that the type checker proves it complete.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from cl_server_shared.models import JobEvent


class Subscription(Protocol):
    """A running subscription; leaving its `with` block or closing it ends it."""

    def close(self) -> None:
        """Stop the callbacks; harmless when repeated."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Broadcaster(Protocol):
    """Announces what was committed."""

    def publish(self, event: JobEvent) -> None:
        """Hand an event over; returns at once and never fails because of a broker."""
        ...

    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        """Call *callback* with each event from now on, in a thread of the broadcaster's own choice.

        Args:
            callback: gets one event at a time; what it raises is logged, and the next event comes.
            topic: the MQTT topic filter to subscribe to instead of the broadcaster's own topic.

        Raises:
            ConfigError: *topic* is no topic filter.
            ClServerError: the broadcaster is closed.
        """
        ...

    def close(self) -> None:
        """Deliver what can be delivered within 2 s, then stop; harmless when repeated."""
        ...


@runtime_checkable
class ConfirmingBroadcaster(Broadcaster, Protocol):
    """A broadcaster that learns what has arrived, so that the rest can be sent again."""

    def publish_confirmed(self, event: JobEvent, on_settled: Callable[[bool], object]) -> None:
        """Hand an event over like `publish`, and call *on_settled* at most once, from any thread.

        Its argument: whether the broker has acknowledged the event. False: it was refused, or
        dropped for newer ones. A broadcaster that is closed meanwhile does not call.
        """
        ...

"""The callbacks of one process, each with the topic filter that it is subscribed to."""

import logging
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final, Self, final, override

from cl_server_shared.protocols.events import Subscription

_LOG: Final = logging.getLogger(__name__)


@final
class CallbackSubscription[T](Subscription):
    """One callback and its topic filter, until it is closed."""

    def __init__(
        self,
        topic_filter: str,
        callback: Callable[[T], object],
        forget: Callable[[Self], object],
    ) -> None:
        self.topic_filter: Final = topic_filter
        self._callback: Final = callback
        self._forget: Final = forget
        self._is_closed = False

    def deliver(self, message: T) -> None:
        """Call the callback unless closed; what it raises is logged."""
        if self._is_closed:
            return
        try:
            self._callback(message)
        except Exception:  # noqa: BLE001  # anybody's function: what it raises is logged
            _LOG.exception(
                "The subscriber %r of %r failed on %r; its next event still comes",
                self._callback,
                self.topic_filter,
                message,
            )

    @override
    def close(self) -> None:
        self._is_closed = True
        self._forget(self)

    @override
    def __enter__(self) -> Self:  # pyright: ignore[reportMissingSuperCall]  a port has none
        return self

    @override
    def __exit__(  # pyright: ignore[reportMissingSuperCall]  a port has none
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@final
class Subscriptions[T]:
    """The running subscriptions of one process.

    It has no lock: each step is one operation on a dict, whole to every thread, and a fork finds
    nothing locked. Callbacks run in the thread that delivers.
    """

    def __init__(self, on_change: Callable[[], object]) -> None:
        self.running: Final[dict[CallbackSubscription[T], None]] = {}
        self._on_change: Final = on_change

    def add(self, topic_filter: str, callback: Callable[[T], object]) -> CallbackSubscription[T]:
        """Start a subscription; closing it takes it out again."""
        subscription = CallbackSubscription(topic_filter, callback, self._forget)
        self.running[subscription] = None
        self._on_change()
        return subscription

    def filters(self) -> frozenset[str]:
        """Return the filters of all subscriptions."""
        return frozenset(subscription.topic_filter for subscription in tuple(self.running))

    def deliver(self, message: T, filters: Collection[str]) -> None:
        """Call each callback whose filter is one of *filters*, in the order they subscribed."""
        for subscription in tuple(self.running):
            if subscription.topic_filter in filters:
                subscription.deliver(message)

    def _forget(self, subscription: CallbackSubscription[T]) -> None:
        self.running.pop(subscription, None)
        self._on_change()

"""A broadcaster whose events are delivered or dropped when a test says so."""

from collections.abc import Callable
from typing import Final, final, override

from cl_server_shared.models import JobEvent
from cl_server_shared.mqtt.subscriptions import CallbackSubscription
from cl_server_shared.protocols.events import ConfirmingBroadcaster, Subscription

_DELIVERED: Final = True
_DROPPED: Final = False


@final
class ManualBroadcaster(ConfirmingBroadcaster):
    """Keeps what it is given in flight until the test delivers or drops it."""

    def __init__(self) -> None:
        self.in_flight: list[tuple[JobEvent, Callable[[bool], object]]] = []

    @property
    def events(self) -> list[JobEvent]:
        return [event for event, _ in self.in_flight]

    def deliver(self, number: int = 0) -> None:
        """Confirm an event that is in flight."""
        self.in_flight.pop(number)[1](_DELIVERED)

    def drop(self) -> None:
        """Drop all events that are in flight, and report each as lost."""
        while self.in_flight:
            self.in_flight.pop(0)[1](_DROPPED)

    @override
    def publish(self, event: JobEvent) -> None:
        raise AssertionError("what can be confirmed must be")

    @override
    def publish_confirmed(self, event: JobEvent, on_settled: Callable[[bool], object]) -> None:
        self.in_flight.append((event, on_settled))

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        return CallbackSubscription(topic or "#", callback, lambda _subscription: None)

    @override
    def close(self) -> None:
        """There is nothing to close."""

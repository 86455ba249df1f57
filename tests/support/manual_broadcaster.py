"""A broadcaster whose messages arrive, or do not, when a test says so."""

from collections.abc import Callable
from typing import Final, final, override

from cl_server_shared.models import JobEvent
from cl_server_shared.mqtt.subscriptions import CallbackSubscription
from cl_server_shared.protocols.events import ConfirmingBroadcaster, Subscription

_ARRIVED: Final = True
_LOST: Final = False


@final
class Pigeons(ConfirmingBroadcaster):
    """Holds what it is given until the test says what became of it."""

    def __init__(self) -> None:
        self.flying: list[tuple[JobEvent, Callable[[bool], object]]] = []

    @property
    def events(self) -> list[JobEvent]:
        return [event for event, _ in self.flying]

    def land(self, number: int = 0) -> None:
        """Deliver an event that is on its way."""
        self.flying.pop(number)[1](_ARRIVED)

    def lose(self) -> None:
        """Lose all that is on its way, and tell so."""
        while self.flying:
            self.flying.pop(0)[1](_LOST)

    @override
    def publish(self, event: JobEvent) -> None:
        raise AssertionError("what can be confirmed must be")

    @override
    def publish_confirmed(self, event: JobEvent, on_settled: Callable[[bool], object]) -> None:
        self.flying.append((event, on_settled))

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        return CallbackSubscription(topic or "#", callback, lambda _subscription: None)

    @override
    def close(self) -> None:
        """There is nothing to close."""

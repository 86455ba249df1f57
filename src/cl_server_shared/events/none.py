"""The broadcaster and the workers of a process that tells nobody."""

from collections.abc import Callable
from typing import final, override

from cl_server_shared.models import JobEvent
from cl_server_shared.mqtt.subscriptions import CallbackSubscription
from cl_server_shared.protocols.events import Broadcaster, Subscription


@final
class NoneBroadcaster(Broadcaster):
    """Takes every event and every subscriber, and brings none to the other."""

    @override
    def publish(self, event: JobEvent) -> None:
        """Do nothing."""

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        """Return a subscription that never calls back."""
        return CallbackSubscription(topic or "#", callback, _forget_nothing)

    @override
    def close(self) -> None:
        """Do nothing."""


def _forget_nothing(_subscription: CallbackSubscription[JobEvent]) -> None:
    """There is no list to take it from."""

"""The broadcaster of a process that announces nothing."""

from collections.abc import Callable
from typing import final, override

from cl_server_shared.models import JobEvent
from cl_server_shared.mqtt.subscriptions import CallbackSubscription
from cl_server_shared.protocols.events import Broadcaster, Subscription


@final
class NoneBroadcaster(Broadcaster):
    """Takes every event and every subscriber, and delivers nothing."""

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
    """Do nothing: no list holds it."""

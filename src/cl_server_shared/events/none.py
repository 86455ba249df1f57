"""The broadcaster and the workers of a process that tells nobody."""

from collections.abc import Callable
from typing import final, override

from cl_server_shared.events.ranges import require_range
from cl_server_shared.events.subscriptions import CallbackSubscription
from cl_server_shared.models import JobEvent, WorkerStatus
from cl_server_shared.protocols import Broadcaster, Presence, Subscription, WorkerRegistry


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


@final
class NonePresence(Presence):
    """Tells nobody that a worker is there."""

    @override
    def set_idle(self, count: int) -> None:
        """Do nothing but refuse what other presences refuse."""
        require_range("idle count", count, 0)

    @override
    def close(self) -> None:
        """Do nothing."""


@final
class NoneWorkerRegistry(WorkerRegistry):
    """Knows no worker."""

    @override
    def workers(self) -> tuple[WorkerStatus, ...]:
        return ()

    @override
    def capabilities(self) -> dict[str, int]:
        return {}

    @override
    def close(self) -> None:
        """Do nothing."""


def _forget_nothing(_subscription: CallbackSubscription[JobEvent]) -> None:
    """There is no list to take it from."""

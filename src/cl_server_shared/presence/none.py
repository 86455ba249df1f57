"""Presence and registry of a process that announces nothing."""

from typing import final, override

from cl_server_shared.models import WorkerStatus
from cl_server_shared.models.validation import require_range
from cl_server_shared.protocols.presence import Presence, WorkerRegistry


@final
class NonePresence(Presence):
    """Announces nothing."""

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

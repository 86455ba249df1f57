"""Workers that are known inside one process; also the test double."""

from typing import Final, final, override

from cl_server_shared.models import WorkerStatus
from cl_server_shared.models.validation import require_range
from cl_server_shared.presence.registry_state import idle_by_capability
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.presence import Presence, WorkerRegistry


@final
class MemoryWorkerRegistry(WorkerRegistry):
    """Knows the workers that joined it.

    It has no lock: each step is one operation on a dict, whole to every thread.
    """

    def __init__(self) -> None:
        self._by_session: Final[dict[str, WorkerStatus]] = {}
        self._is_closed = False

    def put(self, status: WorkerStatus) -> None:
        """Take in what a worker announces."""
        self._by_session[status.session] = status

    def remove(self, session: str) -> None:
        """Forget a worker; harmless when repeated."""
        self._by_session.pop(session, None)

    @override
    def workers(self) -> tuple[WorkerStatus, ...]:
        if self._is_closed:
            return ()
        oldest_first = sorted(self._by_session.values(), key=lambda each: each.session)
        newest = {each.worker_id: each for each in oldest_first}
        return tuple(newest[worker_id] for worker_id in sorted(newest))

    @override
    def capabilities(self) -> dict[str, int]:
        return idle_by_capability(self.workers())

    @override
    def close(self) -> None:
        self._is_closed = True


@final
class MemoryPresence(Presence):
    """Announces a worker to a registry of this process."""

    def __init__(self, registry: MemoryWorkerRegistry, status: WorkerStatus, clock: Clock) -> None:
        self._registry: Final = registry
        self._status: Final = status
        self._clock: Final = clock
        self._is_closed = False
        registry.put(status)

    @override
    def set_idle(self, count: int) -> None:
        require_range("idle count", count, 0)
        if not self._is_closed:
            now_ms = self._clock.now_ms()
            self._registry.put(
                self._status.model_copy(update={"idle_count": count, "timestamp": now_ms})
            )

    @override
    def close(self) -> None:
        self._is_closed = True
        self._registry.remove(self._status.session)

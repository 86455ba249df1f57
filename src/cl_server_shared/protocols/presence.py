"""The ports of presence: what announces workers, and what knows them, may be replaced by.

An implementation inherits its port explicitly, so that the type checker proves it complete.
"""

from types import TracebackType
from typing import Protocol, Self

from cl_server_shared.models import WorkerStatus


class Presence(Protocol):
    """Announces that a worker is there, until it is closed or its process ends."""

    def set_idle(self, count: int) -> None:
        """Announce how many jobs (0 or more) the worker could take now; returns at once.

        After `close`, and in a forked child, it has no effect.

        Raises:
            ConfigError: *count* is negative.
        """
        ...

    def close(self) -> None:
        """Announce that the worker is gone; takes 1 s at most, and is harmless when repeated."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class WorkerRegistry(Protocol):
    """Knows which workers there are, as far as they were announced until now."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that are there, ordered by their ids."""
        ...

    def capabilities(self) -> dict[str, int]:
        """Return for each task type how many jobs its workers could take now; 0: all are busy."""
        ...

    def close(self) -> None:
        """End the subscription; harmless when repeated. From then on no worker is known."""
        ...

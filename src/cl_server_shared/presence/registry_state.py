"""Which workers there are, by the messages received: decided without clock and network.

Times are milliseconds since the epoch (UTC).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Cleared, PresenceMessage


@final
@dataclass(frozen=True, slots=True)
class LastSeen:
    """The newest status of a worker, and when it was last announced."""

    status: WorkerStatus
    at_ms: int


@final
@dataclass(frozen=True, slots=True)
class RegistryState:
    """The known workers by id; one that is silent for *forget_after_ms* is forgotten."""

    forget_after_ms: int
    known: Mapping[str, LastSeen] = field(default_factory=dict[str, LastSeen])


def after_message(
    state: RegistryState,
    worker_id: str,
    message: PresenceMessage,
    now_ms: int,
    *,
    is_retained: bool,
) -> RegistryState:
    """Take in a message on the topic of *worker_id*; one that is of no worker changes nothing."""
    match message:
        case WorkerStatus():
            return after_status(state, message, now_ms, is_retained=is_retained)
        case Cleared():
            return after_clearing(state, worker_id, message, now_ms)
        case _:
            return state


def after_status(
    state: RegistryState, status: WorkerStatus, now_ms: int, *, is_retained: bool
) -> RegistryState:
    """Take in what a worker announced.

    A retained message may be left over from one that died: it is as old as its timestamp. While a
    worker is there, older sessions of the same id count for nothing.
    """
    present = _present(state, now_ms)
    before = present.get(status.worker_id)
    if before is not None and before.status.session > status.session:
        return RegistryState(state.forget_after_ms, present)
    at_ms = min(now_ms, status.timestamp) if is_retained else now_ms
    if before is not None and before.status.session == status.session:
        at_ms = max(at_ms, before.at_ms)
    present[status.worker_id] = LastSeen(status, at_ms)
    return RegistryState(state.forget_after_ms, present)


def after_clearing(
    state: RegistryState, worker_id: str, cleared: Cleared, now_ms: int
) -> RegistryState:
    """Forget a worker, unless it was an older session of it that was cleared late."""
    present = _present(state, now_ms)
    if not _is_of_an_older_session(cleared, present.get(worker_id)):
        present.pop(worker_id, None)
    return RegistryState(state.forget_after_ms, present)


def present_workers(state: RegistryState, now_ms: int) -> tuple[WorkerStatus, ...]:
    """Return the workers that are not forgotten, ordered by id."""
    return tuple(each.status for _, each in sorted(_present(state, now_ms).items()))


def idle_by_capability(workers: Iterable[WorkerStatus]) -> dict[str, int]:
    """Return for each task type how many jobs *workers* could take now."""
    idle: dict[str, int] = {}
    for worker in workers:
        for task_type in set(worker.capabilities):
            idle[task_type] = idle.get(task_type, 0) + worker.idle_count
    return idle


def _present(state: RegistryState, now_ms: int) -> dict[str, LastSeen]:
    oldest_ms = now_ms - state.forget_after_ms
    return {key: each for key, each in state.known.items() if each.at_ms >= oldest_ms}


def _is_of_an_older_session(cleared: Cleared, last_seen: LastSeen | None) -> bool:
    if last_seen is None or cleared.session is None:
        return False
    return cleared.session < last_seen.status.session

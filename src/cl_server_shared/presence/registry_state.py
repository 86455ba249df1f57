"""Which workers there are, as far as was heard: decided without clock and network.

Times are milliseconds since the epoch (UTC).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Gone, Heard


@final
@dataclass(frozen=True, slots=True)
class Sighting:
    """A worker, and when it last gave a sign of life."""

    status: WorkerStatus
    at_ms: int


@final
@dataclass(frozen=True, slots=True)
class RegistryState:
    """The workers that were heard of, by id; who is silent for *forget_after_ms* is forgotten."""

    forget_after_ms: int
    sightings: Mapping[str, Sighting] = field(default_factory=dict[str, Sighting])


def after_status(
    view: RegistryState, status: WorkerStatus, now_ms: int, *, is_retained: bool
) -> RegistryState:
    """Take in what a worker told.

    A retained message may be left over from one that died: it is as old as it says. While a worker
    is there, older sessions of the same id count for nothing.
    """
    living = _living(view, now_ms)
    known = living.get(status.worker_id)
    if known is not None and known.status.session > status.session:
        return RegistryState(view.forget_after_ms, living)
    at_ms = min(now_ms, status.timestamp) if is_retained else now_ms
    if known is not None and known.status.session == status.session:
        at_ms = max(at_ms, known.at_ms)
    return RegistryState(
        view.forget_after_ms, {**living, status.worker_id: Sighting(status, at_ms)}
    )


def after_goodbye(view: RegistryState, worker_id: str, gone: Gone, now_ms: int) -> RegistryState:
    """Forget a worker, unless the goodbye is the late one of an older session."""
    living = _living(view, now_ms)
    known = living.get(worker_id)
    is_late = known is not None and gone.session is not None and gone.session < known.status.session
    left = {key: each for key, each in living.items() if key != worker_id or is_late}
    return RegistryState(view.forget_after_ms, left)


def after_hearing(
    view: RegistryState, worker_id: str, heard: Heard, now_ms: int, *, is_retained: bool
) -> RegistryState:
    """Take in a message on the topic of *worker_id*; nonsense changes nothing."""
    match heard:
        case WorkerStatus():
            return after_status(view, heard, now_ms, is_retained=is_retained)
        case Gone():
            return after_goodbye(view, worker_id, heard, now_ms)
        case _:
            return view


def present_workers(view: RegistryState, now_ms: int) -> tuple[WorkerStatus, ...]:
    """Return the workers that are not forgotten, ordered by id."""
    return tuple(each.status for _, each in sorted(_living(view, now_ms).items()))


def idle_by_capability(workers: Iterable[WorkerStatus]) -> dict[str, int]:
    """Return for each task type how many jobs *workers* could take now."""
    idle: dict[str, int] = {}
    for worker in workers:
        for task_type in set(worker.capabilities):
            idle[task_type] = idle.get(task_type, 0) + worker.idle_count
    return idle


def _living(view: RegistryState, now_ms: int) -> dict[str, Sighting]:
    oldest = now_ms - view.forget_after_ms
    return {key: each for key, each in view.sightings.items() if each.at_ms >= oldest}

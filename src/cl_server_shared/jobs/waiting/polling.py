"""Watches of a repository that tells of no changes: it is asked once a second."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, final, override

from cl_server_shared.jobs.job_state import FINAL
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.waiting import HasWatches, JobSnapshot, Watch, WatchSource

_PAUSE_SECONDS: Final = 1.0


def watches_of(repository: JobManagement) -> WatchSource:
    """Return what makes the watches of anybody's repository."""
    return repository.watches if isinstance(repository, HasWatches) else _Polling(repository)


@final
class _Polling(WatchSource):
    def __init__(self, repository: JobManagement) -> None:
        self._repository: Final = repository

    @override
    def watch_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Watch[JobSnapshot]:
        return _JobPolls(self._repository, job_id, only_final=only_final)

    @override
    def watch_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Watch[Literal[True]]:
        return _WorkPolls(self._repository, task_types)


class _Polls:
    def pause_seconds(self) -> float:
        return _PAUSE_SECONDS

    def close(self) -> None:
        """Do nothing: nobody wakes it."""


@final
class _JobPolls(_Polls):
    def __init__(self, repository: JobManagement, job_id: str, *, only_final: bool) -> None:
        self._repository: Final = repository
        self._job_id: Final = job_id
        self._only_final: Final = only_final
        self._shown: object = None

    def poll(self) -> JobSnapshot | None:
        record = self._repository.get_job(self._job_id)
        if record is None or record.status in FINAL:
            return JobSnapshot(record, is_last=True)
        if self._only_final or record == self._shown:
            return None
        self._shown = record
        return JobSnapshot(record, is_last=False)


@final
class _WorkPolls(_Polls):
    def __init__(self, repository: JobManagement, task_types: Sequence[str]) -> None:
        self._repository: Final = repository
        self._task_types: Final = task_types

    def poll(self) -> Literal[True] | None:
        return True if self._repository.wait_for_work(self._task_types, 0) else None

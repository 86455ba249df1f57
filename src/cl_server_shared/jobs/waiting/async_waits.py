"""Waiting on an event loop: only the polls run in threads, not the waits between them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import Final, Self, final, override

import anyio
import anyio.to_thread

from cl_server_shared.jobs.waiting.waits import Deadline
from cl_server_shared.models import JobRecord
from cl_server_shared.process.loop_waker import LoopWaker
from cl_server_shared.protocols.waiting import JobSnapshot, Watch, WatchSource


async def wait_for_job(
    watches: WatchSource, job_id: str, timeout_seconds: float | None
) -> JobRecord | None:
    """Wait until a job is final; see `JobManagement.wait_for_job`."""
    deadline, waker = Deadline(timeout_seconds), LoopWaker()
    with closing(watches.watch_job(job_id, waker.wake, only_final=True)) as watch:
        snapshot = await _next_news(watch, waker, deadline)
    if snapshot is None:
        raise deadline.error_for(job_id)
    return snapshot.record


async def wait_for_work(
    watches: WatchSource, task_types: Sequence[str], timeout_seconds: float | None
) -> bool:
    """Wait until a job of these types can be claimed; see `JobManagement.wait_for_work`."""
    deadline, waker = Deadline(timeout_seconds), LoopWaker()
    with closing(watches.watch_work(task_types, waker.wake)) as watch:
        # Of no type at all there never will be one.
        return bool(task_types) and await _next_news(watch, waker, deadline) is not None


@final
class JobStream(AsyncIterator[JobRecord]):
    """A job at each change; see `JobManagement.watch_job`.

    No generator, since one that a caller leaves early would need `aclosing` around it.
    """

    def __init__(self, watches: WatchSource, job_id: str, timeout_seconds: float | None) -> None:
        self._deadline: Final = Deadline(timeout_seconds)
        self._job_id: Final = job_id
        self._waker: Final = LoopWaker()
        self._watch: Final = watches.watch_job(job_id, self._waker.wake, only_final=False)
        self._is_over = False

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> JobRecord:
        snapshot = None if self._is_over else await self._next_snapshot()
        if snapshot is None or snapshot.record is None:
            raise StopAsyncIteration
        return snapshot.record

    async def _next_snapshot(self) -> JobSnapshot:
        snapshot = await _next_news(self._watch, self._waker, self._deadline)
        if snapshot is None or snapshot.is_last:
            self._is_over = True
            self._watch.close()
        if snapshot is None:
            raise self._deadline.error_for(self._job_id)
        return snapshot


async def _next_news[T](watch: Watch[T], waker: LoopWaker, deadline: Deadline) -> T | None:
    """Poll until there is news; None: not in time."""
    while (found := await anyio.to_thread.run_sync(watch.poll)) is None and not deadline.has_passed:
        with anyio.move_on_after(deadline.pause_seconds(watch.pause_seconds())):
            await waker.wait()
    return found

"""Waiting on an event loop: only the looks run in threads, not the waits between them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import Final, Self, final, override

import anyio
import anyio.to_thread

from cl_server_shared.jobs.waiting.waits import Deadline
from cl_server_shared.models import JobRecord
from cl_server_shared.process.loop_waker import LoopWaker
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.waiting import JobSnapshot, Watch


async def wait_for_job(
    jobs: JobManagement, job_id: str, timeout_seconds: float | None
) -> JobRecord | None:
    """Wait until a job is final; see `JobManagement.wait_for_job`."""
    patience, waker = Deadline(timeout_seconds), LoopWaker()
    with closing(jobs.look_out_for_job(job_id, waker.wake, only_final=True)) as lookout:
        sight = await _next_sight(lookout, waker, patience)
    if sight is None:
        raise patience.error_for(job_id)
    return sight.record


async def wait_for_work(
    jobs: JobManagement, task_types: Sequence[str], timeout_seconds: float | None
) -> bool:
    """Wait until a job of these types can be claimed; see `JobManagement.wait_for_work`."""
    patience, waker = Deadline(timeout_seconds), LoopWaker()
    with closing(jobs.look_out_for_work(task_types, waker.wake)) as lookout:
        return await _next_sight(lookout, waker, patience) is not None


@final
class JobWatching(AsyncIterator[JobRecord]):
    """A job at each change; see `JobManagement.watch_job`.

    No generator, since one that a caller leaves early would need `aclosing` around it.
    """

    def __init__(self, jobs: JobManagement, job_id: str, timeout_seconds: float | None) -> None:
        self._patience: Final = Deadline(timeout_seconds)
        self._job_id: Final = job_id
        self._waker: Final = LoopWaker()
        self._lookout: Final = jobs.look_out_for_job(job_id, self._waker.wake, only_final=False)
        self._is_over = False

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> JobRecord:
        sight = None if self._is_over else await self._next_sight()
        if sight is None or sight.record is None:
            raise StopAsyncIteration
        return sight.record

    async def _next_sight(self) -> JobSnapshot:
        sight = await _next_sight(self._lookout, self._waker, self._patience)
        if sight is None or sight.is_last:
            self._is_over = True
            self._lookout.close()
        if sight is None:
            raise self._patience.error_for(self._job_id)
        return sight


async def _next_sight[T](lookout: Watch[T], waker: LoopWaker, patience: Deadline) -> T | None:
    """Look until there is something to tell; None: not in time."""
    while (found := await anyio.to_thread.run_sync(lookout.look)) is None and not patience.is_over:
        with anyio.move_on_after(patience.pause_seconds(lookout.pause_seconds())):
            await waker.wait()
    return found

"""How soon a waiting process sees a change of another one, and what its waiting costs.

No broker, and `WORKER_POLL_INTERVAL` plays no part: an idle worker waits for work for an hour.
"""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from cl_server_shared.container import running
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.protocols.jobs import JobManagement
from tests.benchmarks.databases import postgres_databases, sqlite_databases
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.ours import container_on
from tests.benchmarks.queues import Names
from tests.benchmarks.sizes import Sizes
from tests.support.processes import child

_TYPE: Final = "wake"
_END: Final = "end"
_HOUR: Final = 3600.0
_IDLE_SECONDS: Final = 0.02  # for each job of the round
_LONGEST_PAUSE_SECONDS: Final = 0.03  # longer than any period at which somebody looks


def _enter(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    return [
        _contestant("SQLite", sqlite_databases(stack)(), sizes, stack),
        _contestant("PostgreSQL", postgres_databases(stack)(), sizes, stack),
    ]


def _contestant(name: str, url: str, sizes: Sizes, stack: ExitStack) -> Contestant:
    jobs = stack.enter_context(running(container_on(url))).job_repository()
    worker = stack.enter_context(child(partial(_work, url)))
    stack.callback(worker.result)
    stack.callback(jobs.add_job, JobRecord(job_id=_END, task_type=_END))
    how = "an idle worker in another process; times of the machine's monotonic clock"
    return Contestant(name=name, how=how, play=partial(_play, jobs, Names(), sizes.wake_ups))


def _work(url: str) -> None:
    """Claim each job as soon as it is there, and complete it with the times of both."""
    with running(container_on(url)) as container:
        jobs = container.job_repository()
        while jobs.wait_for_work([_TYPE, _END], _HOUR):
            job = jobs.fetch_next_job([_TYPE, _END])
            claimed_at = time.monotonic_ns()
            if job is None:
                continue
            if job.task_type == _END:
                return
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
            times = {"claimed_at": claimed_at, "completed_at": time.monotonic_ns()}
            jobs.update_job(
                job.job_id, JobRecordUpdate(status=JobStatus.completed, output={**times})
            )


def _play(jobs: JobManagement, names: Names, number: int) -> Measured:
    claimed: list[int] = []
    seen: list[int] = []
    for _ in range(number):
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
        name = names.next()
        added_at = time.monotonic_ns()
        assert jobs.add_job(JobRecord(job_id=name, task_type=_TYPE))
        job = jobs.wait_for_job(name, timeout_seconds=60)
        seen_at = time.monotonic_ns()
        assert job is not None
        assert job.output is not None
        claimed.append(int(str(job.output["claimed_at"])) - added_at)
        seen.append(seen_at - int(str(job.output["completed_at"])))
    return {
        **_quantiles("added to claimed", claimed),
        **_quantiles("completed to seen", seen),
        "idle CPU %": _idle_percent(jobs, names.next(), number * _IDLE_SECONDS),
    }


def _quantiles(name: str, nanoseconds: list[int]) -> Measured:
    ascending = sorted(nanoseconds)
    return {
        f"{name} p50 ms": ascending[len(ascending) // 2] / 1e6,
        f"{name} p99 ms": ascending[len(ascending) * 99 // 100] / 1e6,
    }


def _idle_percent(jobs: JobManagement, name: str, seconds: float) -> float:
    """Wait for a job that nobody works on; return what part of a core that takes."""
    assert jobs.add_job(JobRecord(job_id=name, task_type="nobody's"))
    began, began_at = time.process_time(), time.perf_counter()
    with suppress(TimeoutError):
        jobs.wait_for_job(name, seconds)
    return 100 * (time.process_time() - began) / (time.perf_counter() - began_at)


CASES: Final = (Case(name="waking", title="A waiting process wakes up", enter=_enter),)

"""What the state machine may choose from, so that most steps do something."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Final, Protocol

from hypothesis import strategies as st

from cl_server_shared.models import JobStatus
from tests.faults.model.reference import LEASE_MS, ModelJob, ModelJobs, Output, Report

NAMES: Final = ("first", "second", "third")
HOLDER: Final = "whoever claimed the job"
OUSTED: Final = "whoever lost a job, on that job"
RUNNING: Final = "whichever job is running"
JOB_IDS: Final = ("a", "b", "c")
TASK_TYPES: Final = ("resize", "transcode")

_OUTPUTS: Final[Sequence[Output]] = [None, {}, {"n": 1}, {"n": 2}]
_ERRORS: Final[Sequence[str | None]] = [None, "boom", "bang"]


def _one_of[T](values: Sequence[T]) -> st.SearchStrategy[T]:
    """Take one draw for a whole value: 50 steps must fit into what is kept of an example."""

    @st.composite
    def one_of_them(draw: st.DrawFn) -> T:
        return values[draw(st.integers(0, len(values) - 1))]

    return one_of_them()


WHO: Final = st.sampled_from(NAMES)
REPORTER: Final = st.sampled_from([HOLDER] * 4 + [OUSTED] * 2 + [*NAMES])
ANY_ID: Final = st.sampled_from(JOB_IDS)
ANY_JOB: Final = st.sampled_from([RUNNING] * 6 + [*JOB_IDS])
PROGRESS: Final = st.sampled_from([0, 10, 50, 99, 100])
OUTPUTS: Final = st.sampled_from(_OUTPUTS)
ERRORS: Final = st.sampled_from(_ERRORS)
TYPES: Final = st.sampled_from([[*TASK_TYPES], [*TASK_TYPES], ["transcode"], ["resize"], []])
REASONS: Final = st.sampled_from(["no need", "too late"])
STATUSES: Final = st.none() | st.sets(st.sampled_from(JobStatus))
AGES_MS: Final = st.sampled_from([0, 1, LEASE_MS])
SECONDS: Final = st.sampled_from([0.25, 1, 15])
"""None below 250 ms: a repository looks that often for what has become due."""

REPORTS: Final = _one_of(
    [
        Report(*values)
        for values in product([None, *map(str, JobStatus)], [None, 0, 50, 100], _OUTPUTS, _ERRORS)
    ]
)
NEW_JOBS: Final = _one_of(
    [
        ModelJob(
            job_id=job_id,
            task_type=task_type,
            priority=priority,
            max_retries=max_retries,
            status=status,
            progress=progress,
            output=output,
            error_message=error,
            ended_at=None,
        )
        for status, progress, priority, max_retries, output, error, task_type, job_id in product(
            ["queued"] * 12 + ["processing", "completed", "error"],
            [0, 0, 50],
            [0, 5],
            [1, 0, 2],
            _OUTPUTS[::2],
            _ERRORS[:2],
            TASK_TYPES,
            JOB_IDS,
        )
    ]
)
"""Most of them queued."""


class HasModel(Protocol):
    """A machine, as far as conditions look at it."""

    @property
    def model(self) -> ModelJobs: ...


def _has(wanted: Callable[[ModelJob], bool]) -> Callable[[HasModel], bool]:
    return lambda machine: any(map(wanted, machine.model.jobs.values()))


def has_all_jobs(machine: HasModel) -> bool:
    return len(machine.model.jobs) == len(JOB_IDS)


def has_room(machine: HasModel) -> bool:
    return not has_all_jobs(machine)


has_jobs: Final = _has(lambda _: True)
has_running_jobs: Final = _has(lambda job: job.lease_ends_at is not None)
has_work: Final = _has(lambda job: job.status == "queued" or job.lease_ends_at is not None)
has_ended_jobs: Final = _has(lambda job: job.is_final)

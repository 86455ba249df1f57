"""A job's state, what may be asked of it, and what may be decided: immutable values."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from cl_server_shared.jobs.policy import RetryPolicy
from cl_server_shared.models import JobStatus
from cl_server_shared.models.outcome import Applied, Refused, Unchanged

FINAL: Final = frozenset({JobStatus.completed, JobStatus.error})


class JobState(NamedTuple):
    """The part of a job's row that its life changes.

    Times are milliseconds since the epoch; `output` and `attempts` are JSON text.
    `claim_number` grows with every claim and with every loss of one, for the life of the job: it is
    the fencing token. `event_seq` grows with every visible change, and so tells whether a row still
    is as it was read.

    A tuple, since each report makes several copies: `_replace` takes a quarter of the time of
    `dataclasses.replace`.
    """

    status: JobStatus
    progress: int
    output: str | None
    error_message: str | None
    started_at: int | None
    completed_at: int | None
    available_at: int | None
    lease_expires_at: int | None
    worker_id: str | None
    claim_number: int
    retry_count: int
    max_retries: int
    last_error: str | None
    cancel_reason: str | None
    attempts: str | None
    event_seq: int

    def numbered(self, event_seq: int) -> "JobState":
        """Return it with another `event_seq`, in a third of the time of `_replace`."""
        return JobState(*self[:-1], event_seq)


class KnownJob(NamedTuple):
    """A job as this repository last read or wrote it.

    *row_id* is its primary key, which another job may get when it was removed; together with
    *created_at* (ms) it is this job's alone.
    """

    row_id: int
    job_id: str
    task_type: str
    created_at: int
    state: JobState

    def in_state(self, state: JobState) -> "KnownJob":
        """Return the same job in another state."""
        return KnownJob(self.row_id, self.job_id, self.task_type, self.created_at, state)


class Change(NamedTuple):
    """What an update asks for; None means "leave as it is". `output` is JSON text.

    Of an error, *is_permanent* says that no other try would help, and *retry_after_ms* how long to
    wait for one instead of the backoff.
    """

    status: JobStatus | None = None
    progress: int | None = None
    output: str | None = None
    error_message: str | None = None
    is_permanent: bool = False
    retry_after_ms: int | None = None


class Report(NamedTuple):
    """Under which circumstances something is reported.

    Args:
        held_claim: the claim number under which the reporter works, None if it never claimed.
        now_ms: the time, in milliseconds since the epoch.
        retry: when a failed job may be tried again.
        jitter: a random number, 0 <= jitter < 1.
    """

    held_claim: int | None
    now_ms: int
    retry: RetryPolicy
    jitter: float


class Update(NamedTuple):
    """Somebody reports a change."""

    change: Change
    report: Report
    now_ms: int


class Cancel(NamedTuple):
    """The job shall end as `error`, for a reason."""

    reason: str
    now_ms: int


class Release(NamedTuple):
    """A running job shall wait again, without counting a try; *held_claim* as in `Report`."""

    held_claim: int | None
    now_ms: int


class RetryByHand(NamedTuple):
    """A job that ended, or waits for its next try, shall run now, with all its tries."""

    now_ms: int


class Recover(NamedTuple):
    """A job whose lease has expired by *now_ms* shall be tried again."""

    now_ms: int


type Request = Update | Cancel | Release | RetryByHand | Recover
"""What is asked of a job that exists; times are milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ChangedTo(Applied):
    """The job changes to *state*."""

    state: JobState


type Decision = ChangedTo | Unchanged | Refused

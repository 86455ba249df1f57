"""What may happen to a job: total functions over immutable values, and nothing else.

    (nothing) --submit--> queued --claim--> processing --complete--> completed
                            ^ |                |  |
    retry, recover, release | |                |  +--fail, tries used up, cancel--> error
                            +-|----------------+                                      ^
                              +--cancel-----------------------------------------------+

`completed` and `error` are final: only a retry by hand leaves them. The caller brings the time and
the random number, and carries out what was decided.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from cl_server_shared.jobs.policy import RetryPolicy
from cl_server_shared.models import JobStatus

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


class Change(NamedTuple):
    """What an update asks for; None means "leave as it is". `output` is JSON text."""

    status: JobStatus | None = None
    progress: int | None = None
    output: str | None = None
    error_message: str | None = None


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


@dataclass(frozen=True, slots=True)
class Applied:
    """The job changes to *state*."""

    state: JobState


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The job already is as asked for."""


class Refusal(StrEnum):
    """Why a job may not be changed."""

    final = "final"
    lost = "lost"
    cancelled = "cancelled"
    behind = "behind"
    running = "running"
    not_running = "not running"


@dataclass(frozen=True, slots=True)
class Refused:
    """The job may not be changed like that; *reason* is a sentence for people."""

    refusal: Refusal
    reason: str


type Decision = Applied | Unchanged | Refused


def is_final(state: JobState) -> bool:
    """Tell whether nothing but a retry by hand leaves this state."""
    return state.status in FINAL

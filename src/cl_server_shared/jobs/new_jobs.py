"""New jobs: what a caller brings is checked, and becomes a row and its first event."""

from typing import Final, NamedTuple

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.arguments import checked_integer, is_storable
from cl_server_shared.jobs.job_state import FINAL
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.validation import checked_length, checked_record, json_text
from cl_server_shared.models import JobEvent, JobRecord, JobStatus, NewJob
from cl_server_shared.models.event import SCHEMA_VERSION, event_of
from cl_server_shared.models.trusted import is_trusted, trusted_json
from cl_server_shared.protocols.jobs import JobRecordLike

_INT64: Final = range(-(2**63), 2**63)
_RETRIES: Final = range(2**31)
_CLAIM_NUMBERS: Final = 2**40
TERMS: Final = ("created_by", "priority", "max_retries")
"""The columns of a new row that its record does not tell."""


class Terms(NamedTuple):
    """What is said of a new job beside its record; see `JobManagement.add_job`."""

    created_by: str | None = None
    priority: int | None = None
    max_retries: int | None = None
    run_at: int | None = None


type NewRow = tuple[dict[str, object], JobEvent]
"""The columns of a row that is to be inserted, and what is announced of it."""


def new_row(
    job: JobRecordLike, terms: Terms, policy: JobPolicy, *, claim_number: int, now_ms: int
) -> NewRow:
    """Check a new job, and return its row and its event.

    Args:
        job: the record, checked now: it may have been changed since it was made.
        terms: what is said beside it.
        policy: what is allowed.
        claim_number: the number before its first claim.
        now_ms: the time at which it is added (ms).

    Raises:
        InvalidJobError: it is no record, or something of it cannot be stored.
    """
    new = checked_submission(job, policy)
    record = new.record
    row: dict[str, object] = {
        **record.__dict__,
        "params": new.params,
        "output": new.output,
        "status": record.status.value,
        "created_at": now_ms,
        "completed_at": now_ms if record.status in FINAL else None,
        "available_at": None,
    }
    row["claim_number"] = claim_number
    _add_terms(row, terms, policy, now_ms)
    return row, event_of(
        {
            "job_id": record.job_id,
            "event_type": record.status,
            "timestamp": now_ms,
            "progress": record.progress,
            "task_type": record.task_type,
            "seq": 1,
            "created_at": now_ms,
            "schema_version": SCHEMA_VERSION,
        }
    )


def first_claim_number(jitter: float) -> int:
    """Return a claim number to begin with, from a random number, 0 <= jitter < 1.

    It may be any: whoever claimed a removed job of the same id must not match this one.
    """
    return int(jitter * _CLAIM_NUMBERS)


def one_of_many(job: JobRecordLike | NewJob, created_by: str | None) -> tuple[JobRecordLike, Terms]:
    """Return the record and the terms of a job in a batch of somebody's."""
    if not isinstance(job, NewJob):
        return job, Terms(created_by)
    creator = created_by if job.created_by is None else job.created_by
    return job.job, Terms(creator, job.priority, job.max_retries, job.run_at)


def _add_terms(row: dict[str, object], terms: Terms, policy: JobPolicy, now_ms: int) -> None:
    created_by, priority, max_retries, run_at = terms
    if created_by is not None and not is_storable(created_by):
        raise InvalidJobError(
            f"created_by {created_by!r} must be text without NUL and lone surrogates, or None"
        )
    row["created_by"] = created_by
    row["priority"] = 0 if priority is None else checked_integer("priority", priority, _INT64)
    row["max_retries"] = (
        policy.max_retries
        if max_retries is None
        else checked_integer("max_retries", max_retries, _RETRIES)
    )
    if run_at is not None:
        row["available_at"] = _delayed_until(run_at, row["status"], now_ms)


def _delayed_until(run_at: int, status: object, now_ms: int) -> int | None:
    """Return before which time the job is not claimed; None: it is past already."""
    if status != JobStatus.queued:
        raise InvalidJobError(f"run_at is for jobs of status queued, and this one is {status}")
    at = checked_integer("run_at", run_at, _INT64)
    return at if at > now_ms else None


class Submission(NamedTuple):
    """A new job: a valid record, its `params` and its `output` as JSON text."""

    record: JobRecord
    params: str
    output: str | None


def checked_submission(job: JobRecordLike, policy: JobPolicy) -> Submission:
    """Return *job* as it will be stored, checked now: a record may have been changed since made.

    Raises:
        InvalidJobError: it is no record, or cannot be stored.
    """
    try:
        trusted = _trusted_submission(job) if type(job) is JobRecord else None
    except AttributeError:  # it was made past its own checks, and lacks fields
        trusted = None
    new = trusted or _validated_submission(job)
    longest = policy.json_max_bytes
    if len(new.params) > longest or (new.output is not None and len(new.output) > longest):
        checked_length("params", new.params, longest)
        checked_length("output", new.output or "", longest)
    return new


def _trusted_submission(job: JobRecord) -> Submission | None:
    """Take a record that is beyond doubt valid, at a fifth of what validating it costs."""
    given = job.output
    params, output = trusted_json(job.params), None if given is None else trusted_json(given)
    if (
        params is None
        or (output is None and given is not None)
        or type(job.status) is not JobStatus
        or not is_trusted(job.job_id, job.task_type, job.progress, job.error_message)
    ):
        return None
    return Submission(job, params, output)


def _validated_submission(job: JobRecordLike) -> Submission:
    record = checked_record(job)
    output = None if record.output is None else json_text("output", record.output)
    return Submission(record, json_text("params", record.params), output)

"""What may happen to a job: total functions over immutable values, and nothing else.

    (nothing) --submit--> queued --claim--> processing --complete--> completed
                            ^ |                |  |
    retry, recover, release | |                |  +--fail, tries used up, cancel--> error
                            +-|----------------+                                      ^
                              +--cancel-----------------------------------------------+

`completed` and `error` are final: only a retry by hand leaves them. The caller brings the time and
the random number, and carries out what was decided.
"""

from typing import Final

from cl_server_shared.jobs.attempt_log import with_one_more
from cl_server_shared.jobs.job_state import (
    FINAL,
    Cancel,
    Change,
    ChangedTo,
    Decision,
    JobState,
    Recover,
    Release,
    Report,
    Request,
    RetryByHand,
    Update,
)
from cl_server_shared.models import Attempt, JobStatus
from cl_server_shared.models.outcome import Refusal, Refused, Unchanged

NO_MESSAGE: Final = "failed without a message"


def decide(state: JobState, request: Request) -> Decision:
    """Decide what becomes of a job in *state* of which something is asked."""
    match request:
        case Update(change, report, _):
            return update(state, change, report)
        case Cancel(reason, now_ms):
            return cancel(state, reason=reason, now_ms=now_ms)
        case Release(held_claim, now_ms):
            return release(state, held_claim=held_claim, now_ms=now_ms)
        case RetryByHand():
            return retry_by_hand(state)
        case Recover(now_ms):
            return recover(state, now_ms=now_ms)


def update(state: JobState, change: Change, report: Report) -> Decision:
    """Decide what becomes of a job of which somebody reports *change*."""
    if report.held_claim not in {None, state.claim_number}:
        return _refused_as_lost(state, report.held_claim)
    if state.status in FINAL:
        return _repeat(state, change)
    match change.status:
        case JobStatus.completed:
            return ChangedTo(_complete(state, change, report.now_ms))
        case JobStatus.error:
            return ChangedTo(_fail_or_try_again(_merge(state, change), change, report))
        case JobStatus.queued if state.status is JobStatus.processing:
            merged = _merge(state, change)
            return release(merged, held_claim=report.held_claim, now_ms=report.now_ms)
        case _:
            return _carry_on(state, change, report.now_ms)


def release(state: JobState, *, held_claim: int | None, now_ms: int) -> Decision:
    """Decide that a running job goes back to the queue; no try is counted."""
    if held_claim not in {None, state.claim_number}:
        return _refused_as_lost(state, held_claim)
    if state.status is not JobStatus.processing:
        return Refused(Refusal.not_running, f"the job is {state.status}")
    if state.cancel_reason is not None:
        return ChangedTo(_fail(state, now_ms, error=_cancelled(state.cancel_reason)))
    return ChangedTo(_back_to_queue(state))


def cancel(state: JobState, *, reason: str, now_ms: int) -> Decision:
    """Decide that a job shall end: a waiting one at once, a claimed one when it next reports."""
    if state.status in FINAL:
        return _refused_as_final(state)
    if state.lease_expires_at is None:
        cancelled = state._replace(cancel_reason=reason)
        return ChangedTo(_fail(cancelled, now_ms, error=_cancelled(reason)))
    return Unchanged() if state.cancel_reason else ChangedTo(state._replace(cancel_reason=reason))


def retry_by_hand(state: JobState) -> Decision:
    """Decide that a job that ended, or waits for its next try, runs now, with all its tries."""
    if state.status is JobStatus.processing:
        return Refused(Refusal.running, "the job is processing: cancel or release it first")
    waiting = _back_to_queue(state) if state.status in FINAL else state._replace(available_at=None)
    again = waiting._replace(completed_at=None, retry_count=0, cancel_reason=None)
    return Unchanged() if again == state else ChangedTo(again)


def recover(state: JobState, *, now_ms: int) -> Decision:
    """Decide what becomes of a job whose worker has not renewed its lease.

    It is tried again at once, for the lease itself was the delay; when its tries are used up, it
    ends as `error`. A crash counts like an error: a job that kills its workers must end.
    """
    expires_at = state.lease_expires_at
    if state.status is not JobStatus.processing or expires_at is None or expires_at > now_ms:
        return Refused(Refusal.not_running, "its lease has not expired")
    error = f"worker {state.worker_id or 'unknown'} stopped answering"
    if state.cancel_reason is None and state.retry_count < state.max_retries:
        return ChangedTo(_try_again(state, now_ms, error=error, delay_ms=0))
    if state.cancel_reason is None:
        error = f"{error}, and all {state.retry_count + 1} tries are used up"
    else:
        error = _cancelled(state.cancel_reason)
    ended = _fail(state, now_ms, error=error)
    return ChangedTo(ended._replace(claim_number=state.claim_number + 1))


def give_up(state: JobState, *, reason: str, now_ms: int) -> JobState:
    """End a job as `error` without another try, for a reason that no try would change."""
    return _fail(state, now_ms, error=reason)


def _repeat(state: JobState, change: Change) -> Decision:
    """A report that came twice is no conflict."""
    # Then the worker's own message was replaced by the reason of the cancel.
    is_cancelled = state.status is JobStatus.error and state.cancel_reason is not None
    same = change.status in {None, state.status} and (
        (change.progress is None or change.progress <= state.progress)
        and (change.output in {None, state.output})
        and (is_cancelled or (change.error_message or None) in {None, state.error_message})
    )
    return Unchanged() if same else _refused_as_final(state)


def _refused_as_lost(state: JobState, held_claim: int | None) -> Refused:
    reason = f"claim {held_claim} was lost: the job is at claim {state.claim_number}"
    return Refused(Refusal.lost, reason)


def _refused_as_final(state: JobState) -> Refused:
    return Refused(Refusal.final, f"the job is {state.status}, which is final")


def _merge(state: JobState, change: Change) -> JobState:
    """Take over what was given; progress never falls within an attempt."""
    return state._replace(
        progress=state.progress
        if change.progress is None
        else max(state.progress, change.progress),
        output=_given(change.output, state.output),
        error_message=_given(change.error_message, state.error_message),
    )


def _given(value: str | None, otherwise: str | None) -> str | None:
    return otherwise if value is None else value


def _carry_on(state: JobState, change: Change, now_ms: int) -> Decision:
    """Progress, or whatever else is told of a job that goes on."""
    if state.cancel_reason is not None:
        return Refused(Refusal.cancelled, _cancelled(state.cancel_reason))
    if change.progress is not None and change.progress < state.progress:
        return Refused(Refusal.behind, f"progress {change.progress} is behind {state.progress}")
    changed = _merge(state, change)
    if change.status is not None and change.status is not state.status:
        started_at = now_ms if state.started_at is None else state.started_at
        changed = changed._replace(status=change.status, started_at=started_at)
    return Unchanged() if changed == state else ChangedTo(changed)


def _complete(state: JobState, change: Change, now_ms: int) -> JobState:
    return state._replace(
        status=JobStatus.completed,
        progress=100,
        output=_given(change.output, state.output),
        error_message=_given(change.error_message, state.error_message),
        completed_at=now_ms,
        available_at=None,
        lease_expires_at=None,
    )


def _fail_or_try_again(state: JobState, change: Change, report: Report) -> JobState:
    """Whoever claimed the job may have failed for a passing reason; others say that it is over."""
    error = state.error_message or NO_MESSAGE
    if state.cancel_reason is not None:
        return _fail(state, report.now_ms, error=_cancelled(state.cancel_reason))
    has_tries = report.held_claim is not None and state.retry_count < state.max_retries
    if change.is_permanent or not has_tries:
        return _fail(state, report.now_ms, error=error)
    delay_ms = change.retry_after_ms
    if delay_ms is None:
        delay_ms = report.retry.delay_ms(retry_count=state.retry_count, jitter=report.jitter)
    return _try_again(state, report.now_ms, error=error, delay_ms=delay_ms)


def _fail(state: JobState, now_ms: int, *, error: str) -> JobState:
    return state._replace(
        status=JobStatus.error,
        completed_at=now_ms,
        available_at=None,
        lease_expires_at=None,
        error_message=error,
        last_error=error,
        attempts=_failed_attempts(state, now_ms, error),
    )


def _try_again(state: JobState, now_ms: int, *, error: str, delay_ms: int) -> JobState:
    return _back_to_queue(state)._replace(
        available_at=now_ms + delay_ms if delay_ms else None,
        retry_count=state.retry_count + 1,
        last_error=error,
        attempts=_failed_attempts(state, now_ms, error),
    )


def _back_to_queue(state: JobState) -> JobState:
    """End the attempt; the claim number grows so that its worker cannot write any more."""
    return state._replace(
        status=JobStatus.queued,
        progress=0,
        output=None,
        error_message=None,
        started_at=None,
        available_at=None,
        lease_expires_at=None,
        worker_id=None,
        claim_number=state.claim_number + 1,
    )


def _failed_attempts(state: JobState, now_ms: int, error: str) -> str | None:
    """Log the attempt that ended; a job without a lease was never claimed, so it made none."""
    if state.lease_expires_at is None:
        return state.attempts
    failed = Attempt(
        attempt=state.retry_count + 1,
        worker=state.worker_id or "unknown",
        started_at=state.started_at,
        ended_at=now_ms,
        error=error,
    )
    return with_one_more(state.attempts, failed)


def _cancelled(reason: str) -> str:
    return f"cancelled: {reason}"

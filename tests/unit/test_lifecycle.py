"""The laws of a job's life, for every state that columns can hold; then its arrows, one by one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cl_server_shared.jobs import lifecycle
from cl_server_shared.jobs.attempt_log import logged_attempts, with_one_more
from cl_server_shared.jobs.job_state import FINAL, Change, ChangedTo, Decision, JobState, Report
from cl_server_shared.jobs.lifecycle import NO_MESSAGE
from cl_server_shared.jobs.policy import RetryPolicy
from cl_server_shared.models import Attempt, JobStatus
from cl_server_shared.models.outcome import Refused, Unchanged
from tests.support.examples import examples
from tests.support.lifecycle_strategies import CHANGES, REPORTS, STATES

WAITING = JobState(
    status=JobStatus.queued,
    progress=0,
    output=None,
    error_message=None,
    started_at=None,
    completed_at=None,
    available_at=None,
    lease_expires_at=None,
    worker_id=None,
    claim_number=0,
    retry_count=0,
    max_retries=3,
    last_error=None,
    cancel_reason=None,
    attempts=None,
    event_seq=1,
)
RUNNING = WAITING._replace(
    status=JobStatus.processing,
    started_at=1_000,
    lease_expires_at=31_000,
    worker_id="w",
    claim_number=1,
    event_seq=2,
)


def report(held_claim: int | None = None, *, now_ms: int = 5_000, jitter: float = 0.5) -> Report:
    return Report(held_claim=held_claim, now_ms=now_ms, retry=RetryPolicy(), jitter=jitter)


def applied(decision: Decision) -> JobState:
    assert isinstance(decision, ChangedTo)
    return decision.state


# Laws


@given(STATES, REPORTS, st.integers(), st.integers())
def test_failing_is_total(
    state: JobState, reported: Report, retry_count: int, max_retries: int
) -> None:
    """Counters have no CHECK, and other code writes them."""
    odd = state._replace(retry_count=retry_count, max_retries=max_retries)
    by_claimer = reported._replace(held_claim=state.claim_number)
    failure = Change(status=JobStatus.error, error_message="boom")

    assert isinstance(lifecycle.update(odd, failure, by_claimer), ChangedTo | Unchanged | Refused)
    assert isinstance(lifecycle.recover(odd, now_ms=reported.now_ms), ChangedTo | Refused)


@given(STATES, CHANGES, REPORTS)
def test_final_stays_final(state: JobState, change: Change, reported: Report) -> None:
    assume(state.status in FINAL)

    assert not isinstance(lifecycle.update(state, change, reported), ChangedTo)


@given(STATES, CHANGES, REPORTS)
def test_a_lost_claim_changes_nothing(state: JobState, change: Change, reported: Report) -> None:
    assume(reported.held_claim not in {None, state.claim_number})

    assert isinstance(lifecycle.update(state, change, reported), Refused)


@examples(500)
@given(STATES, CHANGES, REPORTS)
def test_within_an_attempt_progress_never_falls_and_the_start_stays(
    state: JobState, change: Change, reported: Report
) -> None:
    match lifecycle.update(state, change, reported):
        case ChangedTo(after) if after.claim_number == state.claim_number:
            assert after.progress >= max(state.progress, change.progress or 0)
            assert state.started_at in {None, after.started_at}
            assert (after.event_seq, after.max_retries) == (state.event_seq, state.max_retries)
        case _:
            pass


@given(STATES, CHANGES, REPORTS)
def test_the_claim_number_grows_with_every_loss_of_a_claim_and_only_then(
    state: JobState, change: Change, reported: Report
) -> None:
    match lifecycle.update(state, change, reported):
        case ChangedTo(after):
            is_lost = after.status is JobStatus.queued and (
                state.status is JobStatus.processing or after.retry_count > state.retry_count
            )
            assert after.claim_number == state.claim_number + is_lost
        case _:
            pass


@given(STATES, CHANGES, REPORTS)
def test_retries_never_exceed_their_maximum(
    state: JobState, change: Change, reported: Report
) -> None:
    decisions = (
        lifecycle.update(state, change, reported),
        lifecycle.recover(state, now_ms=reported.now_ms),
    )
    for decision in decisions:
        if isinstance(decision, ChangedTo):
            counted = decision.state.retry_count - state.retry_count
            assert counted in {0, 1}
            assert decision.state.retry_count <= max(state.retry_count, state.max_retries)


@given(STATES, CHANGES, REPORTS)
def test_what_ends_a_job_leaves_nothing_of_its_claim_behind(
    state: JobState, change: Change, reported: Report
) -> None:
    match lifecycle.update(state, change, reported):
        case ChangedTo(after) if after.status in FINAL:
            assert after.completed_at == reported.now_ms
            assert (after.available_at, after.lease_expires_at) == (None, None)
            assert after.status is JobStatus.completed or after.error_message
        case _:
            pass


@given(STATES, CHANGES, REPORTS)
def test_a_final_report_that_comes_twice_is_no_conflict(
    state: JobState, change: Change, reported: Report
) -> None:
    assume(state.cancel_reason is None)
    match lifecycle.update(state, change, reported):
        case ChangedTo(after) if after.status in FINAL:
            assert lifecycle.update(after, change, reported) == Unchanged()
        case _:
            pass


@given(STATES, st.integers(0, 2**41))
def test_a_recovered_job_is_not_recovered_again(state: JobState, now_ms: int) -> None:
    match lifecycle.recover(state, now_ms=now_ms):
        case ChangedTo(after):
            assert isinstance(lifecycle.recover(after, now_ms=now_ms), Refused)
        case _:
            pass


@given(STATES, st.integers(0, 2**41))
def test_only_an_expired_lease_is_recovered(state: JobState, now_ms: int) -> None:
    is_expired = (
        state.status is JobStatus.processing
        and state.lease_expires_at is not None
        and state.lease_expires_at <= now_ms
    )

    assert isinstance(lifecycle.recover(state, now_ms=now_ms), ChangedTo) is is_expired


# Arrows


def test_a_claimers_completion_takes_over_progress_and_output() -> None:
    change = Change(status=JobStatus.completed, output='{"a":1}')

    after = applied(lifecycle.update(RUNNING, change, report(1)))

    assert after == RUNNING._replace(
        status=JobStatus.completed,
        progress=100,
        output='{"a":1}',
        completed_at=5_000,
        lease_expires_at=None,
    )


def test_a_claimers_error_is_tried_again_after_a_delay() -> None:
    change = Change(status=JobStatus.error, error_message="boom", progress=100)

    after = applied(lifecycle.update(RUNNING, change, report(1, jitter=0.25)))

    logged = Attempt(attempt=1, worker="w", started_at=1_000, ended_at=5_000, error="boom")
    assert after == WAITING._replace(
        available_at=5_250,
        claim_number=2,
        retry_count=1,
        last_error="boom",
        attempts=with_one_more(None, logged),
        event_seq=2,
    )


@pytest.mark.parametrize(("held_claim", "retry_count"), [(1, 3), (None, 0)])
def test_an_error_is_final_when_tries_are_used_up_or_nobody_tried(
    held_claim: int | None, retry_count: int
) -> None:
    state = RUNNING._replace(retry_count=retry_count)
    change = Change(status=JobStatus.error, error_message="boom")

    after = applied(lifecycle.update(state, change, report(held_claim)))

    assert (after.status, after.error_message, after.last_error, after.completed_at) == (
        JobStatus.error,
        "boom",
        "boom",
        5_000,
    )
    assert [attempt.error for attempt in logged_attempts(after.attempts)] == ["boom"]


def test_an_error_without_a_message_gets_one() -> None:
    after = applied(lifecycle.update(WAITING, Change(status=JobStatus.error), report()))

    assert (after.error_message, logged_attempts(after.attempts)) == (NO_MESSAGE, ())


@pytest.mark.parametrize(("started_at", "kept"), [(None, 7), (3, 3)])
def test_a_waiting_job_can_be_taken_up_by_hand_and_then_has_no_lease(
    started_at: int | None, kept: int
) -> None:
    waiting = WAITING._replace(started_at=started_at)
    change = Change(status=JobStatus.processing, progress=5)

    once = applied(lifecycle.update(waiting, change, report(now_ms=7)))
    again = applied(lifecycle.update(once, change._replace(progress=6), report(now_ms=8)))

    assert once == WAITING._replace(status=JobStatus.processing, progress=5, started_at=kept)
    assert again == once._replace(progress=6)


def test_an_expired_lease_is_tried_again_at_once_and_logged() -> None:
    after = applied(lifecycle.recover(RUNNING, now_ms=31_000))

    assert (after.status, after.available_at, after.retry_count, after.claim_number) == (
        JobStatus.queued,
        None,
        1,
        2,
    )
    assert [a.error for a in logged_attempts(after.attempts)] == ["worker w stopped answering"]


def test_a_job_that_killed_all_its_workers_ends_and_says_so() -> None:
    after = applied(lifecycle.recover(RUNNING._replace(retry_count=3), now_ms=31_000))

    assert after.status is JobStatus.error
    assert after.error_message == "worker w stopped answering, and all 4 tries are used up"


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (RUNNING, Change()),
        (RUNNING, Change(progress=0)),
        (RUNNING, Change(status=JobStatus.processing)),
        (WAITING, Change(status=JobStatus.queued)),
    ],
)
def test_what_already_is_so_is_unchanged(state: JobState, change: Change) -> None:
    assert lifecycle.update(state, change, report()) == Unchanged()


def test_reasons_of_refusals_name_both_sides() -> None:
    lost = lifecycle.update(RUNNING, Change(progress=5), report(7))
    behind = lifecycle.update(RUNNING._replace(progress=9), Change(progress=5), report(1))

    assert isinstance(lost, Refused)
    assert lost.reason == "claim 7 was lost: the job is at claim 1"
    assert isinstance(behind, Refused)
    assert behind.reason == "progress 5 is behind 9"

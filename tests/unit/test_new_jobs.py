"""A new job becomes a row and its first event, or is refused before the database sees it."""

import re
from typing import Final

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.new_jobs import NewRow, Terms, new_row, one_of_many
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobEvent, JobRecord, JobStatus, NewJob

_NOW: Final = 5


def made(terms: Terms | None = None, **record: object) -> NewRow:
    job = JobRecord.model_validate({"job_id": "job", "task_type": "resize", **record})
    return new_row(job, terms or Terms(), JobPolicy(), claim_number=9, now_ms=_NOW)


def with_terms(**terms: object) -> dict[str, object]:
    return made(Terms()._replace(**terms))[0]


def test_a_new_row_holds_its_record_as_compact_json() -> None:
    row, _ = made(params={"ü": [1, None]})

    assert row == {
        "job_id": "job",
        "task_type": "resize",
        "params": '{"\\u00fc":[1,null]}',
        "status": "queued",
        "progress": 0,
        "output": None,
        "error_message": None,
        "created_at": _NOW,
        "completed_at": None,
        "available_at": None,
        "claim_number": 9,
        "created_by": None,
        "priority": 0,
        "max_retries": 3,
    }


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_that_is_added_as_done_is_completed_at_once(status: JobStatus) -> None:
    row, _ = made(status=status)

    is_final = status in {JobStatus.completed, JobStatus.error}
    assert row["completed_at"] == (_NOW if is_final else None)


def test_the_first_event_tells_the_new_row() -> None:
    _, event = made(status=JobStatus.processing, progress=7)

    assert event == JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=_NOW,
        progress=7,
        task_type="resize",
        seq=1,
        created_at=_NOW,
    )


@pytest.mark.parametrize("priority", [-(2**63), 2**63 - 1])
def test_any_64_bit_integer_is_a_priority(priority: int) -> None:
    assert with_terms(priority=priority)["priority"] == priority


@pytest.mark.parametrize("priority", [2**63, -(2**63) - 1, 1.0, "1", True, float("nan")])
def test_no_other_priority_is_accepted(priority: object) -> None:
    sentence = f"priority {priority!r} must be an integer from {-(2**63)} to {2**63 - 1}"
    with pytest.raises(InvalidJobError, match=re.escape(sentence)):
        with_terms(priority=priority)


@pytest.mark.parametrize("max_retries", [-1, 2**31, 0.5, "3", True])
def test_retries_are_counted_in_whole_numbers_from_0(max_retries: object) -> None:
    with pytest.raises(InvalidJobError, match="max_retries"):
        with_terms(max_retries=max_retries)


@pytest.mark.parametrize("created_by", ["a\0b", 7, b"me", "\ud800"], ids=ascii)
def test_a_creator_that_no_database_can_store_is_refused(created_by: object) -> None:
    with pytest.raises(InvalidJobError, match="created_by"):
        with_terms(created_by=created_by)


def test_a_job_runs_at_a_time_to_come_or_at_once() -> None:
    assert with_terms(run_at=None)["available_at"] is None
    assert with_terms(run_at=_NOW)["available_at"] is None
    assert with_terms(run_at=_NOW + 1)["available_at"] == _NOW + 1


@pytest.mark.parametrize("run_at", [1.5, "1", True, 2**63])
def test_no_other_run_at_is_accepted(run_at: object) -> None:
    with pytest.raises(InvalidJobError, match="run_at"):
        with_terms(run_at=run_at)


def test_only_a_job_that_waits_can_have_a_run_at() -> None:
    with pytest.raises(InvalidJobError, match="run_at is for jobs of status queued"):
        made(Terms(run_at=9), status=JobStatus.processing)


def test_a_job_in_a_batch_has_its_own_terms_or_those_of_the_batch() -> None:
    job = JobRecord(job_id="job", task_type="resize")

    assert one_of_many(job, "ada") == (job, Terms("ada"))
    assert one_of_many(NewJob(job, priority=7, run_at=9), "ada") == (job, Terms("ada", 7, None, 9))
    assert one_of_many(NewJob(job, "eve", max_retries=0), "ada") == (job, Terms("eve", None, 0))

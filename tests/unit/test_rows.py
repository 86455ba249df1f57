"""Rows as other code may have written them: nothing in them stops a reader."""

import json
from functools import partial
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cl_server_shared.jobs.job_state import JobState
from cl_server_shared.jobs.rows import (
    ROW_COLUMNS,
    JobRow,
    JobVersion,
    Unreadable,
    details_of,
    readable,
    record_of,
    row_of,
    state_of,
    version_of,
)
from cl_server_shared.models import JobDetails, JobRecord, JobStatus

GOOD_STATE: Final = JobState(
    status=JobStatus.processing,
    progress=55,
    output=None,
    error_message=None,
    started_at=1_000,
    completed_at=None,
    available_at=None,
    lease_expires_at=31_000,
    worker_id="w",
    claim_number=2,
    retry_count=1,
    max_retries=3,
    last_error="boom",
    cancel_reason=None,
    attempts=None,
    event_seq=7,
)
COLUMNS: Final[dict[str, object]] = {
    "id": 1,
    "job_id": "job",
    "task_type": "resize",
    "params": '{"width": 800}',
    "created_by": "ada",
    "priority": -5,
    "created_at": 1_700_000_000_000,
    "updated_at": 2_000,
    **GOOD_STATE._asdict(),
    "status": "processing",
}

# SQLite keeps in any column whatever it is given.
ANYTHING: Final = (
    st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
)
TOO_DEEP: Final = '{"a":' * 100_000


def with_(**columns: object) -> JobRow:
    return row_of((*{**COLUMNS, **columns}.values(),))


GOOD: Final = with_()


def shortened(value: object) -> str:
    return ascii(value)[:30]


def test_a_good_row_reads_as_its_record() -> None:
    assert record_of(GOOD) == JobRecord(
        job_id="job",
        task_type="resize",
        params={"width": 800},
        status=JobStatus.processing,
        progress=55,
    )


def test_a_good_row_reads_as_its_state() -> None:
    assert state_of(GOOD) == GOOD_STATE


def test_a_good_row_reads_as_its_details() -> None:
    assert details_of(GOOD) == JobDetails(
        job_id="job",
        task_type="resize",
        params={"width": 800},
        status=JobStatus.processing,
        progress=55,
        created_by="ada",
        priority=-5,
        created_at=1_700_000_000_000,
        started_at=1_000,
        updated_at=2_000,
        retry_count=1,
        max_retries=3,
        available_at=None,
        worker_id="w",
        lease_expires_at=31_000,
        last_error="boom",
    )


def test_the_version_of_a_row_is_what_the_statement_on_versions_reads() -> None:
    assert version_of(GOOD) == JobVersion(
        job_id="job",
        id=1,
        created_at=1_700_000_000_000,
        claim_number=2,
        event_seq=7,
        status="processing",
        progress=55,
    )


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_TEXTS: Final = _JSON.map(json.dumps) | _JSON.map(partial(json.dumps, ensure_ascii=False))


@given(
    st.sampled_from(("job_id", "task_type", "status", "progress", "error_message")),
    ANYTHING,
    ANYTHING | _TEXTS,
    ANYTHING | _TEXTS,
)
@example("error_message", "a\ud800", "{}", None)
@example("job_id", "a\u200b", '{"a": "\\ud800"}', '{"a": 1e999}')
def test_what_is_read_without_validating_would_be_valid(
    column: str, value: object, params: object, output: object
) -> None:
    row = with_(**{"params": params, "output": output, column: value})
    record = record_of(row)
    if isinstance(record, JobRecord):
        assert JobRecord.model_validate(record.model_dump()) == record
        assert (json.loads(row.params) or {}) == record.params


def test_jsons_null_as_the_original_wrote_it_is_no_output() -> None:
    row = with_(output="null")

    record = record_of(row)

    assert isinstance(record, JobRecord)
    assert record.output is None
    assert state_of(row).output is None


@pytest.mark.parametrize(
    "columns",
    [
        {"params": '{"x": NaN}'},
        {"params": '{"x": Infinity}'},
        {"params": "[1]"},
        {"params": "{"},
        {"params": ""},
        {"params": None},
        {"params": TOO_DEEP},
        {"params": TOO_DEEP + "1" + "}" * 100_000},
        {"params": b"\xff"},
        {"output": '"text"'},
        {"output": TOO_DEEP},
        {"progress": 150},
        {"progress": "much"},
        {"status": "paused"},
        {"job_id": ""},
        {"job_id": "a\nb"},
        {"task_type": None},
        {"error_message": b"\xff"},
    ],
    ids=shortened,
)
def test_a_broken_row_is_shown_as_an_error_with_its_reason(columns: dict[str, object]) -> None:
    row = with_(**columns)

    found = record_of(row)
    shown = readable(row)

    assert isinstance(found, Unreadable)
    assert found.reason.startswith("this row cannot be read: ")
    assert (shown.status, shown.progress, shown.params, shown.output, shown.error_message) == (
        JobStatus.error,
        0,
        {},
        None,
        found.reason,
    )


@given(st.sampled_from(ROW_COLUMNS), ANYTHING)
@example("params", TOO_DEEP)
def test_reading_is_total(column: str, value: object) -> None:
    row = with_(**{column: value})

    assert isinstance(record_of(row), JobRecord | Unreadable)
    assert isinstance(state_of(row), JobState)
    assert isinstance(readable(row), JobRecord)
    details = details_of(row)
    told = details.model_dump(exclude={"job_id", "task_type"}, warnings=False)
    assert JobDetails.model_validate({"job_id": "job", "task_type": "t", **told})


@given(st.sampled_from(["retry_count", "max_retries", "claim_number", "event_seq"]), ANYTHING)
def test_counters_are_numbers_whatever_was_stored(column: str, value: object) -> None:
    """Decisions compare and count them."""
    state = state_of(with_(**{column: value}))

    counters = (state.retry_count, state.max_retries, state.claim_number, state.event_seq)
    assert [type(counter) for counter in counters] == [int] * 4


def test_an_unknown_status_is_final() -> None:
    assert state_of(with_(status="paused")).status is JobStatus.error

"""Events, workers and failed attempts are values with the manners of a job's record."""

import pickle
from collections.abc import Callable
from typing import Final

import pytest
from pydantic import ValidationError

from cl_server_shared.models import Attempt, JobEvent, JobStatus, WorkerStatus
from cl_server_shared.models.event import trusted_event

type Value = JobEvent | WorkerStatus | Attempt


def checked() -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.queued,
        timestamp=5,
        progress=0,
        task_type="resize",
        seq=1,
        created_at=4,
    )


def trusted() -> JobEvent:
    return trusted_event(
        job_id="job",
        event_type=JobStatus.queued,
        timestamp=5,
        progress=0,
        task_type="resize",
        seq=1,
        created_at=4,
    )


def status() -> WorkerStatus:
    return WorkerStatus(worker_id="w", capabilities=("resize",), idle_count=1, timestamp=5)


def attempt() -> Attempt:
    return Attempt(attempt=1, worker="w", started_at=None, ended_at=5, error="boom")


_MAKERS: Final = (checked, trusted, status, attempt)


@pytest.mark.parametrize("make", _MAKERS)
def test_two_of_equal_fields_are_equal_and_hash_alike(make: Callable[[], Value]) -> None:
    assert make() == make()
    assert len({make(), make()}) == 1


@pytest.mark.parametrize("make", _MAKERS)
def test_a_field_cannot_be_set(make: Callable[[], Value]) -> None:
    made = make()
    first = next(iter(type(made).model_fields))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, first, "another")


@pytest.mark.parametrize("make", _MAKERS)
def test_what_is_dumped_pickled_or_copied_makes_the_same_again(
    make: Callable[[], Value],
) -> None:
    made = make()

    assert type(made).model_validate(made.model_dump()) == made
    assert type(made).model_validate_json(made.model_dump_json()) == made
    assert made.model_copy() == pickle.loads(pickle.dumps(made)) == made


def test_a_copy_may_differ_in_a_field() -> None:
    assert trusted().model_copy(update={"progress": 7}).model_dump() == {
        "job_id": "job",
        "event_type": JobStatus.queued,
        "timestamp": 5,
        "progress": 7,
        "task_type": "resize",
        "seq": 1,
        "created_at": 4,
        "schema_version": 1,
    }
    assert status().model_copy(update={"idle_count": 7}).idle_count == 7


def test_a_trusted_event_is_a_checked_one() -> None:
    assert trusted() == checked()
    assert repr(trusted()) == repr(checked())
    assert trusted().event_id == checked().event_id == "job/4/1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", ""),
        ("event_type", "paused"),
        ("timestamp", -1),
        ("progress", 101),
        ("seq", -1),
        ("unknown", 1),
    ],
)
def test_an_event_with_a_wrong_or_unknown_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        JobEvent.model_validate(checked().model_dump() | {field: value})


def test_a_worker_with_a_negative_count_or_an_unknown_field_is_refused() -> None:
    for wrong in ({"idle_count": -1}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            WorkerStatus.model_validate(status().model_dump() | wrong)

"""What callers bring is refused before the database sees it, and told why."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import pytest
from dependency_injector import providers

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.arguments import (
    checked_job_id,
    checked_message,
    checked_retry_after,
    checked_task_types,
)
from cl_server_shared.jobs.job_state import Change
from cl_server_shared.jobs.new_jobs import checked_submission
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.validation import (
    checked_change,
    checked_checkpoint,
    checked_each,
    checked_record,
)
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus

POLICY = JobPolicy(max_retries=3, json_max_bytes=100)


@dataclass
class Foreign:
    """A record of somebody else's class, which checks nothing."""

    job_id: str = "job"
    task_type: str = "resize"
    params: dict[str, object] = field(default_factory=dict)
    status: str = "queued"
    progress: int = 0
    output: dict[str, object] | None = None
    error_message: str | None = None


def circular() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def named_only(value: object) -> str:
    return value if isinstance(value, str) else ""


def test_a_record_of_the_same_shape_becomes_ours() -> None:
    assert checked_record(Foreign(status="processing", progress=7)) == JobRecord(
        job_id="job", task_type="resize", status=JobStatus.processing, progress=7
    )


@pytest.mark.parametrize(
    ("record", "named"),
    [
        (Foreign(job_id=""), "job_id"),
        (Foreign(job_id="x" * 256), "job_id"),
        (Foreign(job_id="a\nb"), "job_id"),
        (Foreign(job_id="a\0b"), "job_id"),
        (Foreign(job_id="a\x7fb"), "job_id"),
        (Foreign(job_id="\ud800"), "job_id"),
        (Foreign(task_type=""), "task_type"),
        (Foreign(task_type="x" * 256), "task_type"),
        (Foreign(task_type="a\tb"), "task_type"),
        (Foreign(progress=101), "progress"),
        (Foreign(progress=-1), "progress"),
        (Foreign(status="paused"), "status"),
        (Foreign(params={"x": float("nan")}), "params"),
        (Foreign(params={"x": [float("inf")]}), "params"),
        (Foreign(params={"x": {1, 2}}), "params"),
        (Foreign(params={"x": b"bytes"}), "params"),
        (Foreign(params={"x": "a\0b"}), "params"),
        (Foreign(params={"a\0b": 1}), "params"),
        (Foreign(params=circular()), "params"),
        (Foreign(params=nested(100_000)), "params"),
        (Foreign(params={"x": 10**5000}), "params"),
        (Foreign(output={"x": float("nan")}), "output"),
    ],
    ids=named_only,
)
def test_a_bad_record_is_refused_and_its_field_named(record: Foreign, named: str) -> None:
    with pytest.raises(InvalidJobError, match=f"this job was refused: {named}"):
        checked_record(record)


def test_a_record_that_was_changed_since_it_was_made_is_checked_again() -> None:
    record = JobRecord(job_id="job", task_type="resize")
    record.progress = 101

    with pytest.raises(InvalidJobError, match="progress"):
        checked_record(record)


def test_a_record_made_without_checks_is_checked() -> None:
    record = JobRecord.model_construct(
        job_id="", task_type="t", params={}, status=JobStatus.queued, progress=0
    )

    with pytest.raises(InvalidJobError, match="job_id"):
        checked_record(record)


def test_an_update_becomes_a_change_with_its_output_as_text() -> None:
    update = JobRecordUpdate(status=JobStatus.completed, progress=100, output={"a": [1]})

    assert checked_change(update, POLICY) == Change(
        status=JobStatus.completed, progress=100, output='{"a":[1]}'
    )


@dataclass
class ForeignUpdate:
    status: str | None = None
    progress: int | None = None
    output: dict[str, object] | None = None
    error_message: str | None = None


@pytest.mark.parametrize(
    ("update", "named"),
    [
        (ForeignUpdate(progress=101), "progress"),
        (ForeignUpdate(status="paused"), "status"),
        (ForeignUpdate(output={"x": float("inf")}), "output"),
    ],
    ids=["progress", "status", "output"],
)
def test_a_bad_update_is_refused_and_its_field_named(update: ForeignUpdate, named: str) -> None:
    with pytest.raises(InvalidJobError, match=f"this update was refused: {named}"):
        checked_change(update, POLICY)


def test_json_that_is_too_long_is_refused_with_its_length_and_a_way_out() -> None:
    update = JobRecordUpdate(output={"a": "x" * 100})

    with pytest.raises(
        InvalidJobError,
        match=r"output takes 108 bytes of JSON, more than JOB_JSON_MAX_BYTES=100: store it as a",
    ):
        checked_change(update, POLICY)


def test_a_record_of_a_batch_whose_params_are_too_long_is_named_by_its_position() -> None:
    short = JobRecord(job_id="short", task_type="t")
    long = JobRecord(job_id="long", task_type="t", params={"a": "x" * 100})

    with pytest.raises(InvalidJobError, match="at position 1: params takes 108 bytes"):
        checked_each([short, long], lambda job: checked_submission(job, POLICY))


def test_task_types_may_come_in_any_sequence_and_more_than_once() -> None:
    assert checked_task_types(("a", "b", "a")) == ["a", "b"]
    assert checked_task_types({"a": 1}.keys()) == ["a"]
    assert checked_task_types([]) == []


@pytest.mark.parametrize("task_types", ["resize", None, 7, [1], [["a"]], [None]], ids=str)
def test_what_is_no_sequence_of_texts_is_refused(task_types: object) -> None:
    with pytest.raises(InvalidJobError, match="task"):
        checked_task_types(task_types)


_NO_RECORDS: list[tuple[object, str]] = [
    ({"job_id": "a"}, "this dict has no job_id, .*: make a record of it with `model_validate`"),
    ("job", "this str has no job_id"),
    (None, "this NoneType has no job_id"),
    (JobRecordUpdate(), "this JobRecordUpdate has no job_id, task_type, params$"),
    (providers.Factory(JobRecord), "this Factory has no job_id, .*is the call missing"),
    (JobRecord, "has no job_id, .*is the call missing"),
    (JobRecord.model_construct(task_type="t"), "this JobRecord has no job_id$"),
]


@pytest.mark.parametrize(("value", "said"), _NO_RECORDS, ids=named_only)
def test_what_is_no_record_is_named_with_what_it_lacks(value: object, said: str) -> None:
    with pytest.raises(InvalidJobError, match=f"job must be a JobRecord, or an object.*{said}"):
        checked_submission(cast("JobRecord", value), POLICY)


@pytest.mark.parametrize("value", [{"progress": 5}, "done", None, providers.Object(1)], ids=str)
def test_what_is_no_update_is_named_with_what_it_lacks(value: object) -> None:
    said = f"update must be a JobRecordUpdate.*{type(value).__name__} has no status"
    with pytest.raises(InvalidJobError, match=said):
        checked_change(cast("JobRecordUpdate", value), POLICY)


def test_a_job_id_is_text_and_nothing_else() -> None:
    assert checked_job_id("job") == "job"
    assert type(checked_job_id(JobStatus.error)) is str
    for value in (7, None, b"job", ["job"], JobRecord(job_id="job", task_type="t")):
        kind = type(value).__name__
        with pytest.raises(InvalidJobError, match=rf"job_id must be text, not .*\({kind}\)"):
            checked_job_id(value)


def test_the_delay_of_the_next_try_is_in_seconds() -> None:
    assert checked_retry_after(None) is None
    assert checked_retry_after(0) == 0
    assert checked_retry_after(1.5) == 1_500
    for value in (-1, float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidJobError, match="retry_after_seconds"):
            checked_retry_after(value)


def test_a_message_is_text_made_storable() -> None:
    assert checked_message("a\0b") == "a\ufffdb"
    with pytest.raises(InvalidJobError, match=r"message must be a text .*not OSError\(\)"):
        checked_message(OSError())


def test_a_checkpoint_is_any_mapping_that_is_a_json_object() -> None:
    assert checked_checkpoint({"step": 1}, POLICY) == '{"step":1}'
    assert checked_checkpoint(MappingProxyType({"at": (1, 2)}), POLICY) == '{"at":[1,2]}'
    for value in ([1], "text", None, {1: 2}, {"a": float("nan")}, {"a": object()}):
        with pytest.raises(InvalidJobError, match="checkpoint"):
            checked_checkpoint(value, POLICY)
    with pytest.raises(InvalidJobError, match="checkpoint takes 108 bytes"):
        checked_checkpoint({"a": "x" * 100}, POLICY)

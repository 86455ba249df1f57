"""What a job is: what records accept, and what the tables look like to everybody."""

from collections import OrderedDict, UserDict
from collections.abc import Iterator
from types import MappingProxyType

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, Text, cast, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col

from cl_server_shared.database import upgrade
from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import (
    Base,
    Job,
    JobDetails,
    JobEvent,
    JobFilter,
    JobRecord,
    JobRecordUpdate,
    JobStatus,
    QueueEntry,
    SavedJobFile,
)

DEPLOYED = {
    "id": "INTEGER NOT NULL",
    "job_id": "VARCHAR NOT NULL",
    "task_type": "VARCHAR NOT NULL",
    "priority": "INTEGER NOT NULL",
    "params": "JSON NOT NULL",
    "output": "JSON",
    "status": "VARCHAR NOT NULL",
    "progress": "INTEGER NOT NULL",
    "created_at": "BIGINT NOT NULL",
    "started_at": "BIGINT",
    "completed_at": "BIGINT",
    "error_message": "TEXT",
    "retry_count": "INTEGER NOT NULL",
    "max_retries": "INTEGER NOT NULL",
    "created_by": "VARCHAR",
    "updated_at": "BIGINT",
}
"""The columns that services' own migrations make."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def row(job_id: str = "job", **columns: object) -> Job:
    """Build a row as the services' own tests do, without the counters."""
    required: dict[str, object] = {"task_type": "t", "params": {}, "created_at": 5}
    given = {"job_id": job_id, **required, **columns}
    return Job(**given)  # pyright: ignore[reportArgumentType]  # a table class takes any columns


def test_the_mapped_table_has_exactly_the_deployed_columns(engine: Engine) -> None:
    columns = {
        column["name"]: f"{column['type']}{'' if column['nullable'] else ' NOT NULL'}"
        for column in inspect(engine).get_columns("jobs")
    }

    assert columns == DEPLOYED


def test_the_mapped_table_has_the_deployed_indexes(engine: Engine) -> None:
    indexes = {
        index["name"]: (index["column_names"], bool(index["unique"]))
        for index in inspect(engine).get_indexes("jobs")
    }

    assert indexes == {
        "ix_jobs_created_at": (["created_at"], False),
        "ix_jobs_created_by": (["created_by"], False),
        "ix_jobs_job_id": (["job_id"], True),
        "ix_jobs_status": (["status"], False),
    }


def test_a_row_without_its_counters_gets_defaults(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(row())
        session.commit()
        stored = session.scalars(select(Job)).one()

        assert (stored.retry_count, stored.max_retries, stored.priority, stored.progress) == (
            0,
            3,
            0,
            0,
        )
        assert (stored.status, stored.output) == ("queued", None)


def test_no_output_is_sqls_null(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(row())
        session.commit()

        assert (
            session.scalars(select(col(Job.output)).where(col(Job.output).is_(None))).one() is None
        )


def test_rows_are_found_by_their_status_as_a_word(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(row(status="processing"))
        session.commit()

        assert session.query(Job).filter_by(status="processing").one().job_id == "job"
        assert session.scalars(select(cast(col(Job.status), Text))).one() == "processing"


def test_a_status_that_other_code_invented_reads_as_error(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(row(status="queued"))
        session.commit()
        session.execute(text("UPDATE jobs SET status = 'paused'"))
        session.expire_all()

        assert session.scalars(select(Job)).one().status is JobStatus.error


def test_a_job_id_is_unique(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([row(), row()])
        with pytest.raises(IntegrityError):
            session.commit()


@pytest.mark.parametrize("progress", [-1, 101])
def test_the_table_itself_refuses_an_impossible_progress(engine: Engine, progress: int) -> None:
    with Session(engine) as session:
        session.add(row(progress=progress))
        with pytest.raises(IntegrityError, match="ck_jobs_progress_range"):
            session.commit()


def test_queue_entries_are_the_queued_jobs_in_claim_order(engine: Engine) -> None:
    in_order = select(QueueEntry).order_by(QueueEntry.priority.desc(), QueueEntry.id)
    with Session(engine) as session:
        session.add_all(
            [row("first"), row("done", status="completed"), row("urgent", priority=9, created_at=6)]
        )
        session.commit()
        found = session.scalars(in_order).all()

        assert [(e.job_id, e.task_type, e.priority, e.enqueued_at) for e in found] == [
            ("urgent", "t", 9, 6),
            ("first", "t", 0, 5),
        ]
        assert session.query(QueueEntry).filter(QueueEntry.enqueued_at > 5).count() == 1


def test_a_queue_entry_shows_until_when_its_job_is_delayed(engine: Engine) -> None:
    """Before the database has the column, nothing is delayed."""
    entries = select(QueueEntry.job_id, QueueEntry.run_at).order_by(QueueEntry.id)
    with Session(engine) as session:
        session.add_all([row("first"), row("later")])
        session.commit()
        assert [*map(tuple, session.execute(entries))] == [("first", None), ("later", None)]

    upgrade(engine)

    with Session(engine) as session:
        session.execute(text("UPDATE jobs SET available_at = 9 WHERE job_id = 'later'"))
        assert [*map(tuple, session.execute(entries))] == [("first", None), ("later", 9)]


def test_a_record_has_the_documented_defaults() -> None:
    record = JobRecord(job_id="job", task_type="t")

    assert record.model_dump() == {
        "job_id": "job",
        "task_type": "t",
        "params": {},
        "status": JobStatus.queued,
        "progress": 0,
        "output": None,
        "error_message": None,
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"bogus": 1},
        {"progress": 101},
        {"progress": -1},
        {"progress": 0.5},
        {"status": "paused"},
        {"params": []},
        {"params": {"x": float("nan")}},
        {"params": {"x": object()}},
        {"output": {"x": "a\0b"}},
    ],
    ids=str,
)
def test_a_record_refuses_what_cannot_be_stored(odd: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        JobRecord.model_validate({"job_id": "job", "task_type": "t", **odd})


def test_names_are_1_to_255_characters_without_control_characters() -> None:
    for name in ("x", "x" * 255, "ünïcode 写真 🙂", " "):
        assert JobRecord(job_id=name, task_type=name).job_id == name
    for name in ("", "x" * 256, "a\nb", "a\n", "\0", "\x7f", "\x85"):
        with pytest.raises(ValidationError, match="job_id"):
            JobRecord(job_id=name, task_type="t")
        with pytest.raises(ValidationError, match="task_type"):
            JobRecord(job_id="job", task_type=name)


def test_a_message_is_made_storable_instead_of_refused() -> None:
    update = JobRecordUpdate(error_message="a\0b \ud800 c")

    assert update.error_message == "a\ufffdb \\ud800 c"


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert JobRecord(job_id="job", task_type="t", params={"x": "\\u0000"}).params == {
        "x": "\\u0000"
    }


def test_any_mapping_is_copied_as_a_dict() -> None:
    inner = {"x": [1]}
    given = MappingProxyType({"a": OrderedDict(inner), "b": (1, 2)})
    record = JobRecord(job_id="job", task_type="t", params=given, output=UserDict(inner))
    update = JobRecordUpdate(output=given)
    inner["x"].append(2)

    assert (record.params, record.output) == ({"a": {"x": [1]}, "b": [1, 2]}, {"x": [1]})
    assert update.output == record.params
    assert {type(value) for value in (record.params, record.params["a"], record.output)} == {dict}


def test_details_are_a_record_and_what_else_is_known_of_the_job() -> None:
    details = JobDetails(job_id="job", task_type="t", created_at=5, last_error="boom")

    assert isinstance(details, JobRecord)
    assert {**JobRecord(job_id="job", task_type="t").model_dump()}.items() <= (
        details.model_dump().items()
    )
    assert [*details.model_dump()][len(JobRecord.model_fields) :] == [
        "created_by",
        "priority",
        "created_at",
        "started_at",
        "completed_at",
        "updated_at",
        "retry_count",
        "max_retries",
        "available_at",
        "worker_id",
        "lease_expires_at",
        "cancel_reason",
        "last_error",
    ]


def test_a_filter_keeps_copies_of_its_collections() -> None:
    types = ["a", "b"]
    wanted = JobFilter(task_types=types, statuses={JobStatus.error}, job_ids=iter(("x",)))  # pyright: ignore[reportArgumentType]  # what is gone after one reading
    types.clear()

    assert (wanted.task_types, wanted.statuses, wanted.job_ids) == (
        ("a", "b"),
        (JobStatus.error,),
        ("x",),
    )
    words = JobFilter(statuses=["error"])  # pyright: ignore[reportArgumentType]  # as from a query
    assert words.statuses == (JobStatus.error,)


_BAD_FILTERS: list[tuple[str, object]] = [
    ("statuses", "queued"),
    ("statuses", ["paused"]),
    ("statuses", [1]),
    ("statuses", 1),
    ("task_types", "resize"),
    ("task_types", [None]),
    ("job_ids", "job"),
    ("job_ids", b"job"),
    ("created_by", 1),
    ("created_by", "a\0b"),
    ("created_from", "2026-01-01"),
    ("created_before", 1.5),
    ("finished_from", True),
    ("finished_before", 2**63),
    ("order", "random"),
    ("order", None),
    ("order", []),
]


@pytest.mark.parametrize(("field", "value"), _BAD_FILTERS, ids=str)
def test_a_filter_names_the_field_that_it_refuses(field: str, value: object) -> None:
    given = {field: value}
    with pytest.raises(InvalidJobError, match=f"^{field} .* of the filter must be "):
        JobFilter(**given)  # pyright: ignore[reportArgumentType]  # as from a query of any kind


def test_an_update_leaves_alone_what_it_does_not_name() -> None:
    assert JobRecordUpdate().model_dump() == {
        "status": None,
        "progress": None,
        "output": None,
        "error_message": None,
    }
    with pytest.raises(ValidationError, match="bogus"):
        JobRecordUpdate.model_validate({"bogus": 1})


def test_a_row_reads_as_a_record(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(row(params={"width": 800}, status=JobStatus.completed, progress=100))
        session.commit()
        stored = session.scalars(select(Job)).one()

        record = JobRecord.model_validate(stored.model_dump(include=set(JobRecord.model_fields)))

    assert record == JobRecord(
        job_id="job",
        task_type="t",
        params={"width": 800},
        status=JobStatus.completed,
        progress=100,
    )


def test_values_that_are_told_are_plain() -> None:
    event = JobEvent(
        job_id="job",
        event_type=JobStatus.queued,
        timestamp=5,
        progress=0,
        task_type="t",
        seq=1,
    )
    saved = SavedJobFile(relative_path="a", size=1, hash="00")

    assert event.schema_version == 1
    assert saved.model_dump() == {"relative_path": "a", "size": 1, "hash": "00"}

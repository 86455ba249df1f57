"""What a batch, a retry, a session of the caller and a purge write, and whom they tell."""

from typing import Final

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import QueueEntry
from tests.support.repositories import (
    ManualClock,
    at,
    completed,
    failed,
    job,
    repository_on,
    row_of,
)

pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broadcaster() -> MemoryBroadcaster:
    return MemoryBroadcaster()


@pytest.fixture
def jobs(engine: Engine, clock: ManualClock, broadcaster: MemoryBroadcaster) -> SqlJobRepository:
    return repository_on(engine, clock=clock, broadcaster=broadcaster)


def ids(jobs: SqlJobRepository) -> list[str]:
    return [found.job_id for found in jobs.find_jobs().jobs]


def test_one_bad_record_of_a_batch_is_told_by_position_and_nothing_is_stored(
    jobs: SqlJobRepository, broadcaster: MemoryBroadcaster
) -> None:
    bad = job("bad")
    bad.params["not"] = float("nan")
    with pytest.raises(InvalidJobError, match="position 1"):
        jobs.add_jobs([job("a"), bad])

    assert jobs.count_jobs() == {}
    assert broadcaster.published == ()


def test_a_batch_of_updates_stores_different_ends(
    jobs: SqlJobRepository, broadcaster: MemoryBroadcaster
) -> None:
    jobs.add_jobs([job(name) for name in "abcd"])
    jobs.fetch_next_jobs(RESIZE, 4)
    before = len(broadcaster.published)

    updates = {"d": completed({"n": 4}), "a": at(10), "c": failed(), "b": completed({"n": 2})}
    assert jobs.finish_jobs(updates) == {"d": True, "a": True, "c": True, "b": True}

    now = {each.job_id: (str(each.status), each.output) for each in jobs.find_jobs().jobs}
    assert now == {
        "a": ("processing", None),
        "b": ("completed", {"n": 2}),
        "c": ("queued", None),
        "d": ("completed", {"n": 4}),
    }
    told = {event.job_id: event.seq for event in broadcaster.published[before:]}
    assert told == {"a": 3, "b": 3, "c": 3, "d": 3}


def test_a_lost_claim_in_a_batch_leaves_the_others_alone(
    jobs: SqlJobRepository, engine: Engine, clock: ManualClock
) -> None:
    jobs.add_jobs([job(name) for name in "abc"])
    assert len(jobs.fetch_next_jobs(RESIZE, 3)) == 3
    operator = repository_on(engine, clock=clock)
    assert operator.release_job("b")
    assert operator.cancel_job("c", "no need")

    done = jobs.finish_jobs({name: completed({"n": name}) for name in "abc"})

    assert done == {"a": True, "b": False, "c": True}
    assert jobs.late_reports == 1
    assert row_of(engine, "b")["status"] == "queued"


@pytest.mark.parametrize("retries", [-1, True, 2**31])
def test_tries_below_none_are_refused(jobs: SqlJobRepository, retries: int) -> None:
    with pytest.raises(InvalidJobError, match="max_retries"):
        jobs.add_job(job(), max_retries=retries)
    assert jobs.get_job("job") is None


def test_only_a_running_job_is_released_and_no_try_is_counted(
    jobs: SqlJobRepository, engine: Engine
) -> None:
    jobs.add_job(job())
    assert not jobs.release_job("job")
    jobs.fetch_next_job(RESIZE)
    assert jobs.release_job("job")

    row = row_of(engine, "job")
    assert (row["status"], row["retry_count"], row["progress"]) == ("queued", 0, 0)


def test_a_retry_by_hand_gives_all_tries_again_at_once(
    jobs: SqlJobRepository, engine: Engine
) -> None:
    jobs.add_job(job(), max_retries=1)
    jobs.fetch_next_job(RESIZE)
    assert not jobs.retry_job("job")  # it is running
    jobs.update_job("job", failed())

    assert jobs.retry_job("job")  # it waited for its next try
    assert jobs.fetch_next_job(RESIZE) is not None
    assert row_of(engine, "job")["retry_count"] == 0


def test_a_job_in_a_session_is_told_of_when_that_commits(
    jobs: SqlJobRepository, engine: Engine, broadcaster: MemoryBroadcaster
) -> None:
    with Session(engine) as session:
        assert jobs.add_job(job(), session=session)
        assert not jobs.add_job(job(), session=session)
        assert broadcaster.published == ()
        session.commit()

    assert jobs.get_job("job") is not None
    assert [event.event_type for event in broadcaster.published] == ["queued"]


def test_a_job_in_a_session_that_rolls_back_never_was(
    jobs: SqlJobRepository, engine: Engine, broadcaster: MemoryBroadcaster
) -> None:
    with Session(engine) as session:
        jobs.add_job(job(), session=session)
        session.rollback()
        session.execute(select(1))
        session.commit()

    assert jobs.get_job("job") is None
    assert broadcaster.published == ()


def test_the_end_of_a_savepoint_is_no_commit(
    jobs: SqlJobRepository, engine: Engine, broadcaster: MemoryBroadcaster
) -> None:
    with Session(engine) as session:
        with session.begin_nested():
            jobs.add_job(job("kept"), session=session)
        with session.begin_nested() as savepoint:
            jobs.add_job(job("undone"), session=session)
            savepoint.rollback()
        assert broadcaster.published == ()
        session.commit()

    assert ids(jobs) == ["kept"]
    assert [event.job_id for event in broadcaster.published] == ["kept"]


def test_a_purge_removes_rows_with_their_files_the_oldest_first(
    jobs: SqlJobRepository, clock: ManualClock
) -> None:
    for job_id in ("first", "second", "third"):
        jobs.add_job(job(job_id, status="completed"))
        clock.advance(1)
    jobs.add_job(job("running"))
    jobs.fetch_next_job(RESIZE)
    clock.advance(1)
    removed: list[str] = []

    assert jobs.purge_finished(clock.now_ms(), 2, removed.append) == ["first", "second"]
    assert jobs.purge_finished(clock.now_ms() - 3000, 2, removed.append) == []
    assert removed == ["first", "second"]
    assert ids(jobs) == ["running", "third"]


def test_the_queue_shows_what_waits_in_claim_order(jobs: SqlJobRepository, engine: Engine) -> None:
    for job_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
        jobs.add_job(job(job_id), priority=priority)
    in_claim_order = select(QueueEntry).order_by(QueueEntry.priority.desc(), QueueEntry.id)
    with Session(engine) as session:
        shown = [entry.job_id for entry in session.scalars(in_claim_order)]

    claimed: list[str] = []
    while (found := jobs.fetch_next_job(RESIZE)) is not None:
        claimed.append(found.job_id)
    assert claimed == shown == ["high", "first", "second", "low"]

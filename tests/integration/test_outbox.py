"""A changed job stays marked until its event was acknowledged; the outbox is called by the test."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, final

import pytest
from sqlalchemy import Engine

from cl_server_shared.database import DatabaseOptions, database_of, make_engine
from cl_server_shared.errors import DatabaseError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.protocols.events import Broadcaster
from tests.support.manual_broadcaster import ManualBroadcaster
from tests.support.repositories import (
    NOON,
    ManualClock,
    at,
    completed,
    container_on,
    job,
    repository_on,
    row_of,
)
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]


@final
class OutboxEnvironment:
    """A repository whose outbox does what it does only when the test calls it."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine = engine
        self.clock = clock
        self.broadcaster = ManualBroadcaster()
        container = container_on(engine, clock=clock, broadcaster=self.broadcaster)
        relay = container.outbox()
        relay.close()  # so it has no thread: the test does its work
        self.jobs = SqlJobRepository(container.session_factory(), container.repository_parts())
        self.outbox: Final = relay.outbox(database_of(engine, DatabaseOptions()))

    def marked_at(self, job_id: str = "job") -> object:
        return row_of(self.engine, job_id)["unannounced_at"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(shared_database_url: str) -> Iterator[Engine]:
    engine = make_engine(shared_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def environment(engine: Engine, clock: ManualClock) -> OutboxEnvironment:
    return OutboxEnvironment(engine, clock)


def test_a_change_marks_its_job_until_the_event_was_acknowledged(
    environment: OutboxEnvironment,
) -> None:
    environment.jobs.add_job(job())
    assert environment.marked_at() == NOON

    environment.outbox.record()
    assert environment.marked_at() == NOON

    environment.broadcaster.deliver()
    environment.outbox.record()
    assert environment.marked_at() is None


def test_every_change_of_state_marks_and_the_oldest_mark_stays(
    environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    clock.advance(1)
    environment.jobs.fetch_next_job(["resize"])
    clock.advance(1)
    environment.jobs.update_job("job", completed())
    assert environment.marked_at() == NOON

    environment.broadcaster.deliver()
    environment.broadcaster.deliver()
    environment.outbox.record()
    assert environment.marked_at() == NOON  # not its present state

    environment.broadcaster.deliver()
    environment.outbox.record()
    assert environment.marked_at() is None


def test_progress_is_told_but_marks_nothing(environment: OutboxEnvironment) -> None:
    environment.jobs.add_job(job())
    environment.jobs.fetch_next_job(["resize"])
    environment.broadcaster.deliver()
    environment.broadcaster.deliver()
    environment.outbox.record()

    environment.jobs.update_job("job", at(10))

    assert environment.marked_at() is None
    assert [event.progress for event in environment.broadcaster.events] == [10]


def test_a_state_that_progress_has_overtaken_counts_with_the_progress(
    environment: OutboxEnvironment,
) -> None:
    environment.jobs.add_job(job())
    environment.jobs.fetch_next_job(["resize"])
    environment.jobs.update_job("job", at(10))
    environment.broadcaster.deliver()
    environment.broadcaster.deliver()
    environment.outbox.record()
    assert environment.marked_at() == NOON

    environment.broadcaster.deliver()
    environment.outbox.record()
    assert environment.marked_at() is None


def test_acknowledgements_in_any_order_take_the_mark(environment: OutboxEnvironment) -> None:
    environment.jobs.add_job(job())
    environment.jobs.fetch_next_job(["resize"])
    environment.broadcaster.deliver(1)
    environment.broadcaster.deliver(0)
    environment.outbox.record()

    assert environment.marked_at() is None


@pytest.mark.parametrize("broadcaster", [NoneBroadcaster(), MemoryBroadcaster()])
def test_what_cannot_be_confirmed_leaves_no_marks(engine: Engine, broadcaster: Broadcaster) -> None:
    jobs = repository_on(engine, broadcaster=broadcaster)
    jobs.add_job(job())
    assert row_of(engine, "job")["unannounced_at"] is None
    jobs.fetch_next_job(["resize"])
    jobs.update_job("job", completed())

    assert row_of(engine, "job")["unannounced_at"] is None


def test_a_job_in_memory_is_not_marked_for_it_ends_with_its_process(clock: ManualClock) -> None:
    engine = make_engine("sqlite://")
    told: list[int] = []
    broadcaster = MemoryBroadcaster()
    broadcaster.subscribe(lambda event: told.append(event.seq))
    repository_on(engine, clock=clock, broadcaster=broadcaster).add_job(job())

    assert row_of(engine, "job")["unannounced_at"] is None
    assert told == [1]
    engine.dispose()


def test_what_another_process_left_is_told_after_five_seconds_in_its_present_state(
    engine: Engine, environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    clock.advance(1)
    environment.jobs.fetch_next_job(["resize"])
    (_, killed) = environment.broadcaster.events
    later = OutboxEnvironment(engine, clock)

    clock.advance(4)
    assert later.outbox.take_over() == 0
    clock.advance(0.001)
    assert later.outbox.take_over() == 1
    assert later.broadcaster.events == [killed]

    later.broadcaster.deliver()
    later.outbox.record()
    assert later.marked_at() is None


def test_only_one_of_many_takes_a_job_over_until_it_is_overdue_again(
    engine: Engine, environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    first, second = OutboxEnvironment(engine, clock), OutboxEnvironment(engine, clock)

    clock.advance(6)
    assert (first.outbox.take_over(), second.outbox.take_over()) == (1, 0)
    clock.advance(6)
    assert second.outbox.take_over() == 1


def test_a_process_does_not_tell_again_what_is_still_in_flight(
    environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    environment.jobs.add_job(job("other"))
    environment.broadcaster.deliver()  # so there is a broker
    clock.advance(6)
    environment.outbox.take_over()

    assert [event.job_id for event in environment.broadcaster.events] == ["other"]


def test_nothing_is_taken_over_while_nothing_arrives(
    engine: Engine, environment: OutboxEnvironment, clock: ManualClock
) -> None:
    OutboxEnvironment(engine, clock).jobs.add_job(job("left"))
    environment.jobs.add_job(job())
    clock.advance(6)

    assert environment.outbox.take_over() == 0


def test_what_was_dropped_is_told_again_when_it_is_overdue(
    environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    environment.broadcaster.drop()
    environment.outbox.record()
    assert environment.marked_at() == NOON

    clock.advance(6)
    assert environment.outbox.take_over() == 1
    assert [event.seq for event in environment.broadcaster.events] == [1]


def test_a_late_acknowledgement_of_a_removed_job_unmarks_no_other_of_its_id(
    environment: OutboxEnvironment, clock: ManualClock
) -> None:
    environment.jobs.add_job(job())
    environment.jobs.fetch_next_job(["resize"])
    environment.jobs.delete_job("job")
    clock.advance(1)
    environment.jobs.add_job(job())

    environment.broadcaster.deliver()
    environment.broadcaster.deliver()
    environment.outbox.record()

    assert environment.marked_at() == NOON + 1000


def test_what_has_arrived_stays_known_until_it_was_recorded(
    tmp_path: Path, clock: ManualClock
) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    database_of(engine, DatabaseOptions(lock_timeout_seconds=0.05))
    environment = OutboxEnvironment(engine, clock)
    environment.jobs.add_job(job())
    environment.broadcaster.deliver()
    other = sqlite3.connect(tmp_path / "jobs.db", autocommit=True)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseError, match="locked"):
        environment.outbox.record()
    other.execute("ROLLBACK")
    environment.outbox.record()

    assert environment.marked_at() is None
    other.close()
    engine.dispose()


def test_an_old_acknowledgement_that_comes_while_recording_fails_hides_no_newer_one(
    tmp_path: Path, clock: ManualClock
) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    database_of(engine, DatabaseOptions(lock_timeout_seconds=1))
    environment = OutboxEnvironment(engine, clock)
    environment.jobs.add_job(job())
    environment.jobs.fetch_next_job(["resize"])
    environment.broadcaster.deliver(1)
    other = sqlite3.connect(tmp_path / "jobs.db", autocommit=True)
    other.execute("BEGIN IMMEDIATE")

    with ThreadPoolExecutor() as threads:
        recording = threads.submit(environment.outbox.record)
        wait_until(recording.running)
        environment.broadcaster.deliver(0)
        with pytest.raises(DatabaseError, match="locked"):
            recording.result()
    other.execute("ROLLBACK")
    environment.outbox.record()

    assert environment.marked_at() is None
    other.close()
    engine.dispose()


def test_who_is_behind_with_its_own_takes_nothing_over(
    engine: Engine, environment: OutboxEnvironment, clock: ManualClock
) -> None:
    OutboxEnvironment(engine, clock).jobs.add_job(job("left"))
    clock.advance(6)
    environment.jobs.add_jobs([job(f"own {number}") for number in range(1_001)])
    environment.broadcaster.deliver()  # so there is a broker
    assert environment.outbox.take_over() == 0

    environment.broadcaster.deliver()
    assert environment.outbox.take_over() == 1
    assert environment.broadcaster.events[-1].job_id == "left"

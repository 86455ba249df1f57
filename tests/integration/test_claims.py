"""Leases and tries, with a clock that is turned by hand."""

from typing import TYPE_CHECKING, final, override

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from cl_server_shared.database import DatabaseOptions, database_of
from cl_server_shared.errors import JobLost
from cl_server_shared.jobs.attempt_log import logged_attempts
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobRecordUpdate
from cl_server_shared.process.clock import Clock
from tests.support.repositories import (
    NOON,
    ManualClock,
    at,
    completed,
    container_on,
    failed,
    job,
    repository_on,
    row_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["tests.support.databases"]

LEASE_SECONDS = 30


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def worker(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock, JOB_LEASE_SECONDS=30)


@pytest.fixture
def rival(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock, JOB_LEASE_SECONDS=30)


def fetched(repository: SqlJobRepository) -> str | None:
    claimed = repository.fetch_next_job(["resize"])
    return None if claimed is None else claimed.job_id


# Leases


def test_a_lease_that_ended_is_taken_over_by_the_next_fetch_and_not_earlier(
    worker: SqlJobRepository, rival: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job())
    assert fetched(worker) == "job"
    clock.advance(LEASE_SECONDS - 0.001)
    assert fetched(rival) is None
    clock.advance(0.001)

    assert fetched(rival) == "job"
    row = row_of(engine, "job")
    assert (row["retry_count"], row["started_at"]) == (1, NOON + 30_000)
    assert row["lease_expires_at"] == NOON + 60_000
    assert "stopped answering" in str(row["last_error"])


def test_a_late_worker_changes_nothing_and_is_told(
    worker: SqlJobRepository, rival: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job())
    fetched(worker)
    clock.advance(LEASE_SECONDS * 2)
    fetched(rival)
    before = row_of(engine, "job")

    assert worker.update_job("job", completed()) is False
    assert worker.update_job("job", failed()) is False
    with pytest.raises(JobLost, match=r"'job'.*stop working on it"):
        worker.update_job("job", at(99))

    assert row_of(engine, "job") == before
    assert rival.update_job("job", completed()) is True
    assert worker.update_job("job", completed()) is False


def test_a_worker_that_gave_a_job_up_cannot_change_it_for_its_successor(
    worker: SqlJobRepository, rival: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job())
    fetched(worker)
    worker.update_job("job", failed())
    clock.advance(1)
    assert fetched(rival) == "job"
    before = row_of(engine, "job")

    assert worker.update_job("job", completed()) is False
    assert worker.update_job("job", failed()) is False

    assert row_of(engine, "job") == before


def test_a_claim_that_the_lease_keeper_found_lost_stays_lost(
    engine: Engine, rival: SqlJobRepository, clock: ManualClock
) -> None:
    parts = container_on(engine, clock=clock, JOB_LEASE_SECONDS=30).repository_parts()
    worker = SqlJobRepository(sessionmaker(engine), parts)
    worker.add_job(job())
    fetched(worker)
    clock.advance(LEASE_SECONDS * 2)
    assert fetched(rival) == "job"
    parts.leases.renew()

    assert worker.update_job("job", completed()) is False
    assert row_of(engine, "job")["lease_expires_at"] == NOON + 90_000


@final
class InterruptedClock(Clock):
    """Does something, once, when it is next asked for the time."""

    def __init__(self) -> None:
        self.then: list[Callable[[], object]] = []

    @override
    def now_ms(self) -> int:
        while self.then:
            self.then.pop()()
        return NOON


def test_a_job_that_its_worker_finished_during_a_renewal_is_not_taken_for_lost(
    worker: SqlJobRepository, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    worker.add_job(job())
    fetched(worker)
    clock = InterruptedClock()
    keeper = LeaseKeeper(lease_seconds=LEASE_SECONDS, clock=clock)
    claims = worker._claims  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # what a keeper is given
    keeper.keep(claims, database_of(engine, DatabaseOptions()))
    clock.then.append(lambda: worker.update_job("job", completed()))
    keeper.renew()

    assert caplog.messages == []
    assert worker.update_job("job", completed()) is True
    assert worker.late_reports == 0


def test_renewing_prolongs_every_live_claim_and_no_other(
    engine: Engine, rival: SqlJobRepository, clock: ManualClock
) -> None:
    parts = container_on(engine, clock=clock, JOB_LEASE_SECONDS=30).repository_parts()
    worker = SqlJobRepository(sessionmaker(engine), parts)
    for job_id in ("live", "done", "rival's"):
        worker.add_job(job(job_id))
    assert [fetched(worker), fetched(worker), fetched(rival)] == ["live", "done", "rival's"]
    worker.update_job("done", completed())
    clock.advance(10)
    parts.leases.renew()

    leases = {name: row_of(engine, name)["lease_expires_at"] for name in ("live", "rival's")}
    assert leases == {"live": NOON + 40_000, "rival's": NOON + 30_000}
    assert row_of(engine, "done")["lease_expires_at"] is None


def test_a_worker_whose_lease_ended_may_still_finish_while_nobody_took_over(
    worker: SqlJobRepository, rival: SqlJobRepository, clock: ManualClock
) -> None:
    worker.add_job(job())
    fetched(worker)
    clock.advance(LEASE_SECONDS * 10)

    assert worker.update_job("job", completed()) is True
    assert fetched(rival) is None


def test_a_job_that_kills_its_workers_ends_after_its_tries(
    worker: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job(), max_retries=2)
    tries = 0
    while fetched(worker) is not None:
        tries += 1
        clock.advance(LEASE_SECONDS + tries)

    row = row_of(engine, "job")
    assert (tries, row["status"], row["retry_count"]) == (3, "error", 2)
    assert str(row["error_message"]).endswith("stopped answering, and all 3 tries are used up")
    assert len(logged_attempts(str(row["attempts"]))) == 3


def test_recovering_counts_what_it_changed(
    worker: SqlJobRepository, rival: SqlJobRepository, clock: ManualClock
) -> None:
    for number in range(150):  # more than one statement reads at once
        worker.add_job(job(str(number)))
        fetched(worker)
    clock.advance(LEASE_SECONDS)

    assert [rival.recover_expired() for _ in range(2)] == [150, 0]
    assert rival.count_jobs() == {"queued": {"resize": 150}}


# Tries


def test_an_error_of_the_claimer_is_tried_again_after_its_delay(
    worker: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job())
    fetched(worker)
    assert worker.update_job("job", failed("boom")) is True

    waiting = row_of(engine, "job")
    assert (waiting["status"], waiting["error_message"], waiting["last_error"]) == (
        "queued",
        None,
        "boom",
    )
    assert NOON <= int(str(waiting["available_at"] or NOON)) < NOON + 1000
    clock.advance(1)
    assert fetched(worker) == "job"


def test_an_error_is_final_after_exactly_the_allowed_tries(
    worker: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    worker.add_job(job())
    tries = 0
    while fetched(worker) is not None:
        tries += 1
        worker.update_job("job", failed(f"boom {tries}"))
        clock.advance(300)

    row = row_of(engine, "job")
    assert (tries, row["status"], row["error_message"], row["retry_count"]) == (
        4,
        "error",
        "boom 4",
        3,
    )


@pytest.mark.parametrize(("per_job", "for_all"), [(0, 3), (None, 0)])
def test_tries_can_be_turned_off(
    engine: Engine, clock: ManualClock, per_job: int | None, for_all: int
) -> None:
    repository = repository_on(engine, clock=clock, JOB_MAX_RETRIES=for_all)
    repository.add_job(job(), max_retries=per_job)
    fetched(repository)

    assert repository.update_job("job", failed("boom"))

    assert repository.get_job("job") == job(status="error", error_message="boom")


def test_a_new_try_starts_from_nothing(worker: SqlJobRepository, clock: ManualClock) -> None:
    worker.add_job(job(params={"a": 1}))
    fetched(worker)
    worker.update_job("job", JobRecordUpdate(progress=80, output={"half": True}))
    worker.update_job("job", failed())
    clock.advance(1)

    assert worker.fetch_next_job(["resize"]) == job(params={"a": 1}, status="processing")
    assert worker.update_job("job", at(10)) is True

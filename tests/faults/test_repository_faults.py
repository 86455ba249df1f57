"""Workers that die or are busy, and a broadcaster that fails: what becomes of the claims.

Frozen workers have a file of their own, `test_late_workers.py`.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import final, override

import anyio
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import sessionmaker

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobEvent
from cl_server_shared.process.clock import SystemClock
from cl_server_shared.protocols.events import Broadcaster, Subscription
from tests.support.processes import child
from tests.support.repositories import (
    at,
    completed,
    container_on,
    failed,
    job,
    repository_on,
    row_of,
)
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

LEASE_SECONDS = 1


@pytest.fixture
def shared_engine(shared_database_url: str) -> Iterator[Engine]:
    engine = make_engine(shared_database_url)
    yield engine
    engine.dispose()


def repository_in_process(url: str) -> SqlJobRepository:
    return repository_on(make_engine(url), JOB_LEASE_SECONDS=LEASE_SECONDS)


def claim_and_wait(url: str, claimed: Path) -> None:
    """Claim a job and work on it until killed."""
    repository = repository_in_process(url)
    assert repository.fetch_next_job(["resize"])
    claimed.touch()
    time.sleep(60)


def test_a_killed_workers_job_is_claimed_once_its_lease_ends_and_not_earlier(
    shared_database_url: str, shared_engine: Engine, tmp_path: Path
) -> None:
    repository, clock = repository_on(shared_engine), SystemClock()
    repository.add_job(job())
    claimed = tmp_path / "claimed"
    with child(partial(claim_and_wait, shared_database_url, claimed)) as worker:
        wait_until(claimed.exists)
        worker.kill()
    lease_ends_at = int(str(row_of(shared_engine, "job")["lease_expires_at"]))

    began_at = clock.now_ms()
    while repository.fetch_next_job(["resize"]) is None:
        began_at = clock.now_ms()
        time.sleep(0.005)

    assert lease_ends_at <= clock.now_ms()
    assert began_at <= lease_ends_at + 1000  # the promise: within a second after the lease
    assert row_of(shared_engine, "job")["retry_count"] == 1
    assert repository.update_job("job", completed()) is True


def work_without_letting_go(url: str, leases: int) -> list[bool]:
    """Claim a job on an event loop, and keep loop and interpreter busy for some leases."""

    async def block() -> list[bool]:
        repository = repository_in_process(url)
        assert repository.fetch_next_job(["resize"])
        end = time.monotonic() + leases * LEASE_SECONDS
        while time.monotonic() < end:
            pass  # no await, and no call that gives the interpreter away by itself
        return [repository.update_job("job", at(99)), repository.update_job("job", completed())]

    return anyio.run(block)


def test_a_busy_workers_claim_is_renewed_however_it_blocks_its_event_loop(
    shared_database_url: str, shared_engine: Engine
) -> None:
    rival = repository_on(shared_engine)
    rival.add_job(job())
    with child(partial(work_without_letting_go, shared_database_url, 3)) as worker:
        wait_until(lambda: row_of(shared_engine, "job")["status"] == "processing")
        taken_over = [rival.fetch_next_job(["resize"])]
        while row_of(shared_engine, "job")["status"] == "processing":
            taken_over.append(rival.fetch_next_job(["resize"]))
            time.sleep(0.02)

        assert worker.result() == [True, True]
    assert len(taken_over) > 10
    assert set(taken_over) == {None}
    assert row_of(shared_engine, "job")["retry_count"] == 0


def test_a_database_that_fails_keeps_no_other_lease_from_being_renewed(tmp_path: Path) -> None:
    """One keeper renews for all repositories of a process, whatever their databases."""
    engines = [make_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("broken", "sound")]
    parts = container_on(engines[0], JOB_LEASE_SECONDS=LEASE_SECONDS).repository_parts()
    repositories = [SqlJobRepository(sessionmaker(engine), parts) for engine in engines]
    for repository in repositories:
        repository.add_job(job())
        assert repository.fetch_next_job(["resize"])
    with engines[0].begin() as connection:
        connection.execute(text("DROP TABLE jobs"))
    first = row_of(engines[1], "job")["lease_expires_at"]

    wait_until(lambda: row_of(engines[1], "job")["lease_expires_at"] != first, LEASE_SECONDS * 3)

    for engine in engines:
        engine.dispose()


@final
class FailingBroadcaster(Broadcaster):
    """Raises at every event."""

    def __init__(self) -> None:
        self.calls = 0

    @override
    def publish(self, event: JobEvent) -> None:
        self.calls += 1
        raise OSError("no broker")

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        raise NotImplementedError

    @override
    def close(self) -> None:
        """Do nothing."""


def test_a_broadcaster_that_raises_changes_no_answer(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    broadcaster = FailingBroadcaster()
    repository = repository_on(engine, broadcaster=broadcaster, JOB_MAX_RETRIES=0)

    assert [repository.add_job(job(name)) for name in ("job", "job", "bad")] == [True, False, True]
    assert repository.fetch_next_job(["resize"]) == job(status="processing")
    assert repository.update_job("job", at(5)) is True
    assert repository.update_job("job", completed()) is True
    assert repository.update_job("bad", failed("boom")) is True
    assert repository.get_job("job") == job(status="completed", progress=100)
    assert repository.get_job("bad") == job("bad", status="error", error_message="boom")
    assert repository.delete_job("job") is True

    assert broadcaster.calls == 6
    assert sum("was not announced" in record.message for record in caplog.records) == 6

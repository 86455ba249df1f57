"""Who waits is woken by whatever changes the database, whoever changed it.

Here nobody polls without being woken: a change that wakes nobody fails its test.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cl_server_shared.database import make_engine
from cl_server_shared.errors import DatabaseError, InvalidJobError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobRecord, JobStatus
from tests.support.processes import child
from tests.support.repositories import at, completed, failed, job, repository_on
from tests.support.selection import ON_POSTGRESQL
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]
pytestmark = pytest.mark.usefixtures("no_poll_without_change")

RESIZE: Final = ["resize"]
WATCHING: Final = "cl_server_shared.database.changes.watcher"
SOON: Final = 20.0
"""Seconds within which what is waited for comes: generous, since the machine may be busy."""


@pytest.fixture
def no_poll_without_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{WATCHING}._POLL_AT_LEAST_EVERY_SECONDS", 600)


class KindRequest(Protocol):
    @property
    def param(self) -> str: ...
    def getfixturevalue(self, argname: str) -> Engine: ...


class Sides:
    """A database, who waits for it, and who changes it: as two processes would have it."""

    def __init__(self, kind: str, url: str) -> None:
        self.wal: Final = kind != "rollback journal"
        self.url: Final = url
        self.engine: Final = make_engine(url)
        self.other_engine: Final = self.engine if kind == "memory" else make_engine(url)
        self.waiting: Final = self.repository(self.engine)
        self.changing: Final = self.repository(self.other_engine)
        self.is_shared: Final = kind != "memory"

    def repository(self, engine: Engine, **changed: float) -> SqlJobRepository:
        settings: dict[str, object] = {"SQLITE_WAL": self.wal, **changed}
        return repository_on(engine, clock=None, broadcaster=None, **settings)

    def close(self) -> None:
        self.engine.dispose()
        self.other_engine.dispose()


@pytest.fixture(params=["WAL", "rollback journal", "memory", ON_POSTGRESQL])
def sides(request: KindRequest, tmp_path: Path) -> Iterator[Sides]:
    kind = request.param
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_engine").url.render_as_string(hide_password=False)
    else:
        url = "sqlite:///:memory:" if kind == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    sides = Sides(kind, url)
    yield sides
    sides.close()


def begun[R](call: Callable[[], R]) -> Future[R]:
    """Run *call* in a thread, which ends with the test run at the latest."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # told by the future
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def watch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "db-watch"]


def test_a_wait_ends_with_the_final_record(sides: Sides) -> None:
    sides.changing.add_job(job())
    found = begun(lambda: sides.waiting.wait_for_job("job", SOON))
    sides.changing.fetch_next_job(RESIZE)
    sides.changing.update_job("job", at(50))
    assert not found.done()
    sides.changing.update_job("job", completed({"ok": True}))

    assert found.result(SOON) == job(status="completed", progress=100, output={"ok": True})


def test_what_is_final_or_not_there_needs_no_wait_and_no_thread(sides: Sides) -> None:
    sides.changing.add_job(job("done", status="completed"))
    before = watch_threads()

    done = sides.waiting.wait_for_job("done", 0)
    assert done is not None
    assert done.status is JobStatus.completed
    assert sides.waiting.wait_for_job("unknown", None) is None
    assert list(sides.waiting.watch_job("unknown")) == []
    assert [seen.status for seen in sides.waiting.watch_job("done")] == ["completed"]
    sides.changing.add_job(job("waiting"))
    assert sides.waiting.wait_for_work(RESIZE, None)
    assert watch_threads() == before


@pytest.mark.parametrize("seconds", [0, 0.2])
def test_a_wait_that_is_over_tells_which_job_and_how_long(sides: Sides, seconds: float) -> None:
    sides.changing.add_job(job())

    with pytest.raises(TimeoutError, match=f"job 'job' is not final after {seconds} s"):
        sides.waiting.wait_for_job("job", seconds)
    with pytest.raises(TimeoutError):
        list(sides.waiting.watch_job("job", seconds))
    assert sides.waiting.wait_for_work(["other"], seconds) is False
    assert sides.waiting.wait_for_work([], seconds) is False


@pytest.mark.parametrize("seconds", [-1, -0.1, float("nan"), "5"])
def test_no_time_to_wait_is_refused(sides: Sides, seconds: float) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: sides.waiting.wait_for_job("job", seconds),
        lambda: sides.waiting.watch_job("job", seconds),
        lambda: sides.waiting.wait_for_work(RESIZE, seconds),
    )
    for call in calls:
        with pytest.raises(InvalidJobError, match="timeout_seconds"):
            call()


def test_the_wait_for_a_job_that_is_removed_ends_without_one(sides: Sides) -> None:
    sides.changing.add_job(job())
    found = begun(lambda: sides.waiting.wait_for_job("job", SOON))
    wait_until(watch_threads)
    sides.changing.delete_job("job")

    assert found.result(SOON) is None


def test_another_job_under_the_same_id_is_not_the_one_that_was_waited_for(sides: Sides) -> None:
    sides.changing.add_job(job("first"))
    sides.changing.add_job(job())
    watching = sides.waiting.watch_job("job", SOON)
    assert next(watching) == job()
    sides.changing.delete_job("job")
    sides.changing.delete_job("first")
    time.sleep(0.002)  # another millisecond: SQLite gives the new row the number of the old
    sides.changing.add_job(job(params={"another": True}))

    assert list(watching) == []


def test_a_watch_yields_each_change_that_is_seen_and_ends_with_the_last(sides: Sides) -> None:
    sides.changing.add_job(job())
    seen: list[tuple[str, int]] = []
    changes: Iterator[Callable[[], object]] = iter(
        [
            lambda: sides.changing.fetch_next_job(RESIZE),
            lambda: sides.changing.update_job("job", at(10)),
            lambda: sides.changing.update_job("job", at(20)),
            lambda: sides.changing.update_job("job", completed()),
        ]
    )
    for record in sides.waiting.watch_job("job", SOON):
        seen.append((record.status.value, record.progress))
        next(changes, lambda: None)()

    assert seen == [
        ("queued", 0),
        ("processing", 0),
        ("processing", 10),
        ("processing", 20),
        ("completed", 100),
    ]


def test_a_watch_never_goes_back_while_others_report(sides: Sides) -> None:
    sides.changing.add_job(job())
    repository = sides.repository(sides.other_engine, PROGRESS_MAX_PER_SECOND=10_000)
    repository.fetch_next_job(RESIZE)

    def report() -> None:
        for progress in range(1, 100):
            repository.update_job("job", at(progress))
        repository.update_job("job", completed())

    reporting = begun(report)
    seen = [record.progress for record in sides.waiting.watch_job("job", SOON)]
    reporting.result(SOON)

    assert seen == sorted(set(seen))
    assert seen[-1] == 100


def test_no_change_is_missed_between_a_poll_and_the_wait(sides: Sides) -> None:
    """Each job ends at some moment around the first two polls."""
    ids = [f"job-{number}" for number in range(60)]
    sides.changing.add_jobs([job(job_id) for job_id in ids])
    for number, job_id in enumerate(ids):
        found = begun(partial(sides.waiting.wait_for_job, job_id, SOON))
        time.sleep(number % 10 / 2000)
        sides.changing.update_job(job_id, completed())
        assert found.result(SOON) is not None


def test_who_waits_for_work_is_woken_by_a_new_job_of_these_types_only(sides: Sides) -> None:
    sides.changing.count_jobs()
    found = begun(lambda: sides.waiting.wait_for_work(["a", "resize"], SOON))
    wait_until(watch_threads)
    sides.changing.add_job(job("other", "other"))
    sides.changing.add_job(job("done", status="completed"))
    assert not sides.waiting.wait_for_work(RESIZE, 0.3)
    assert not found.done()
    sides.changing.add_job(job())

    assert found.result(SOON) is True
    assert sides.waiting.fetch_next_job(RESIZE) is not None


def test_a_job_of_a_callers_own_session_wakes_when_that_commits(sides: Sides) -> None:
    sides.changing.count_jobs()
    found = begun(lambda: sides.waiting.wait_for_work(RESIZE, SOON))
    wait_until(watch_threads)
    with Session(sides.other_engine) as session:
        sides.changing.add_job(job(), session=session)
        session.commit()

    assert found.result(SOON) is True


def test_a_delayed_try_wakes_when_it_is_due(sides: Sides) -> None:
    failing = sides.repository(sides.other_engine, JOB_RETRY_BASE_SECONDS=0.5)
    failing.add_job(job())
    failing.fetch_next_job(RESIZE)
    failing.update_job("job", failed())

    assert sides.waiting.wait_for_work(RESIZE, SOON)
    assert sides.waiting.fetch_next_job(RESIZE) is not None


def test_a_retry_that_others_bring_forward_wakes_too(sides: Sides) -> None:
    failing = sides.repository(
        sides.other_engine, JOB_RETRY_BASE_SECONDS=300, JOB_RETRY_MAX_SECONDS=300
    )
    failing.add_job(job())
    failing.fetch_next_job(RESIZE)
    failing.update_job("job", failed())
    found = begun(lambda: sides.waiting.wait_for_work(RESIZE, SOON))
    failing.retry_job("job")

    assert found.result(SOON) is True


def claim_and_hang(url: str) -> None:
    repository_on(make_engine(url), JOB_LEASE_SECONDS=1).fetch_next_job(RESIZE)
    time.sleep(60)


def test_the_job_of_a_killed_worker_wakes_when_its_lease_is_over(sides: Sides) -> None:
    if not sides.is_shared:
        return  # no other process reaches it
    sides.changing.add_job(job())
    with child(partial(claim_and_hang, sides.url)) as worker:
        wait_until(lambda: is_processing(sides.changing.get_job("job")))
        found = begun(lambda: sides.waiting.wait_for_work(RESIZE, SOON))
        worker.kill()

        assert found.result(SOON) is True
    assert sides.waiting.fetch_next_job(RESIZE) is not None


def is_processing(record: JobRecord | None) -> bool:
    return record is not None and record.status is JobStatus.processing


def finish(url: str) -> None:
    engine = make_engine(url)
    repository = repository_on(engine)
    repository.fetch_next_job(RESIZE)
    repository.update_job("job", completed())
    engine.dispose()


def test_a_process_that_closes_and_ends_at_once_wakes_who_waits(sides: Sides) -> None:
    if not sides.is_shared:
        return  # no other process reaches it
    sides.changing.add_job(job())
    found = begun(lambda: sides.waiting.wait_for_job("job", SOON))
    with child(partial(finish, sides.url)) as worker:
        worker.result(SOON)

        assert found.result(SOON) is not None


def test_a_hundred_who_wait_share_one_thread(sides: Sides) -> None:
    before = len(watch_threads())
    ids = [f"job-{number}" for number in range(100)]
    sides.changing.add_jobs([job(job_id) for job_id in ids])
    waits = [begun(partial(sides.waiting.wait_for_job, job_id, SOON)) for job_id in ids]
    wait_until(watch_threads)
    assert len(watch_threads()) <= before + 1
    sides.changing.finish_jobs({job_id: completed() for job_id in ids})

    records = [found.result(SOON) for found in waits]
    assert [record and record.job_id for record in records] == ids


def test_closing_the_database_ends_the_waits(sides: Sides) -> None:
    sides.changing.add_job(job())
    waits = [
        begun(lambda: sides.waiting.wait_for_job("job", None)),
        begun(lambda: list(sides.waiting.watch_job("job"))),
        begun(lambda: sides.waiting.wait_for_work(["other"], None)),
    ]
    time.sleep(0.3)
    sides.engine.dispose()

    for found in waits:
        with pytest.raises(DatabaseError, match="closed while its changes were waited for"):
            found.result(SOON)

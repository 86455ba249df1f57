"""Each of the library's threads is refused in turn: what works all the same, and by when."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final, cast

import anyio
import pytest
from dependency_injector import providers
from sqlalchemy import Engine, text

from cl_server_shared import Container, running
from cl_server_shared.database import make_engine
from cl_server_shared.events.in_order import InOrder
from cl_server_shared.jobs.progress_throttle import ProgressThrottle
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.process.clock import SystemClock
from cl_server_shared.protocols.jobs import JobManagement
from tests.support.databases import empty_database
from tests.support.processes import child
from tests.support.refused_threads import refuse_threads, refused_threads_where
from tests.support.repositories import at, completed, job, repository_on, row_of, settings
from tests.support.servers import Address
from tests.support.waiting import BUSY_SECONDS, wait_until

_OURS: Final = "test's own"  # threads of the test itself are never refused
_EVERY: Final = "every thread"
_RESIZE: Final = ["resize"]
_REPORTS: Final = 60
_POLL_SECONDS: Final = 1.0
_PROGRESS_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 2.0
_LEASE_SECONDS: Final = 6.0
_CONTENT: Final = os.urandom(16 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Case:
    """A thread that is refused, and the parts with which it is needed."""

    thread: str
    database: str = "sqlite file"
    has_broker: bool = False

    def refuses(self, name: str) -> bool:
        """Tell whether the thread of this name is refused."""
        if name.startswith(_OURS):
            return False
        if self.thread == _EVERY:
            return True
        if self.thread == "network":
            return name.startswith("MQTT broker") and not name.endswith("waker")
        return name.endswith(self.thread)

    @property
    def has_events(self) -> bool:
        """Whether events arrive while it is refused."""
        return not (self.has_broker and self.thread in {"network", _EVERY})

    @property
    def has_acknowledgements(self) -> bool:
        """Whether what was announced is recorded while it is refused."""
        return self.has_broker and self.thread not in {"network", "outbox", _EVERY}


_ALONE: Final = ["lease-keeper", "late-progress", "db-watch", "held events", "hashing", _EVERY]
_WITH_BROKER: Final = [
    Case("network", has_broker=True),
    Case("waker", has_broker=True),
    Case("outbox", has_broker=True),
    Case(_EVERY, has_broker=True),
    Case("notifier", "postgresql", has_broker=True),
    Case(_EVERY, "postgresql", has_broker=True),
]
_CASES: Final = [pytest.param(Case(thread), id=f"{thread}, alone") for thread in _ALONE] + [
    pytest.param(case, id=f"{case.thread}, {case.database}, mqtt", marks=pytest.mark.slow)
    for case in _WITH_BROKER
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs of one test are, and how they are announced."""

    case: Case
    url: str
    folder: Path
    broker: dict[str, object]

    def container(self) -> Container:
        """Build what a process would build that begins here."""
        changed = settings(
            CL_SERVER_DIR=str(self.folder),
            STORE_DATABASE_URL=self.url,
            JOB_LEASE_SECONDS=30,
            **{"BROADCAST_TYPE": "memory", **self.broker},
        )
        return Container(settings=providers.Object(changed))

    def refused(self) -> AbstractContextManager[list[str]]:
        """Refuse the thread in a `with` block."""
        return refused_threads_where(self.case.refuses)

    @contextmanager
    def engine(self) -> Generator[Engine]:
        """Look into the database from outside."""
        engine = make_engine(self.url)
        yield engine
        engine.dispose()

    def is_marked(self) -> bool:
        """Tell whether the job's present state waits to be announced."""
        with self.engine() as engine:
            return row_of(engine, "job")["unannounced_at"] is not None


@pytest.fixture
def place(
    case: Case, tmp_path: Path, topic: str, request: pytest.FixtureRequest
) -> Iterator[Place]:
    broker: dict[str, object] = {}
    if case.has_broker:
        address = cast("object", request.getfixturevalue("mqtt_broker"))  # it gives Any
        assert isinstance(address, Address)
        broker = {
            "BROADCAST_TYPE": "mqtt",
            "MQTT_BROKER": address.host,
            "MQTT_PORT": address.port,
            "MQTT_TOPIC": topic,
        }
    with empty_database(case.database, tmp_path, request) as url:
        yield Place(case, url, tmp_path, broker)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(thread_name_prefix=_OURS) as pool:
        yield pool


def event(job_id: str, seq: int) -> JobEvent:
    return JobEvent(
        job_id=job_id,
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=50,
        task_type="resize",
        seq=seq,
        created_at=1_700_000_000_000,
    )


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Assert that the block took no longer, but for what a busy machine adds."""
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at <= seconds + BUSY_SECONDS


def report_faster_than_allowed(jobs: JobManagement, job_id: str) -> None:
    """Report three times what is let through in a second, and see the last one stored."""
    with within(_PROGRESS_SECONDS):
        for progress in range(1, _REPORTS + 1):
            assert jobs.update_job(job_id, at(progress))
    with within(_PROGRESS_SECONDS):
        wait_until(lambda: stored_progress(jobs, job_id) == _REPORTS)


def stored_progress(jobs: JobManagement, job_id: str) -> int | None:
    record = jobs.get_job(job_id)
    return None if record is None else record.progress


def save(container: Container, job_id: str) -> None:
    """Save a file that is hashed in many pieces."""
    files = container.job_storage()
    with within(0):
        saved = files.save_sync(job_id, "output/a", BytesIO(_CONTENT))
    assert saved.hash == sha256(_CONTENT).hexdigest()
    assert files.verify(job_id).is_sound


def work(container: Container, pool: ThreadPoolExecutor, job_id: str) -> None:
    """Add, claim, report, save and complete a job for which somebody waits."""
    jobs = container.job_repository()
    with within(0):
        assert jobs.add_job(job(job_id))
        assert not jobs.add_job(job(job_id))
    waiting = pool.submit(jobs.wait_for_job, job_id, 60)
    with within(0.3), pytest.raises(TimeoutError):
        jobs.wait_for_job(job_id, 0.3)
    with within(0):
        assert jobs.fetch_next_job(_RESIZE) is not None
        assert jobs.fetch_next_job(_RESIZE) is None

    report_faster_than_allowed(jobs, job_id)
    save(container, job_id)
    with within(0):
        assert jobs.update_job(job_id, completed())
    with within(_POLL_SECONDS):
        assert waiting.result(60) == job(job_id, status="completed", progress=100)


def subscribe(container: Container, got: list[JobEvent]) -> InOrder:
    """Subscribe in order, with a short patience for what is missing."""
    in_order = InOrder(got.append, wait_ms=50)
    container.broadcaster().subscribe(in_order)
    return in_order


def leave_a_gap(container: Container, job_id: str) -> None:
    """Publish an event whose predecessor never comes: subscribers in order hold it."""
    for seq in (1, 3):
        container.broadcaster().publish(event(job_id, seq))


def hear_of(container: Container, got: list[JobEvent], job_id: str) -> None:
    """See that what was held arrives, with the next event at the latest, and the job's end."""
    numbers = iter(range(1, 100_000))

    def has_all() -> bool:
        container.broadcaster().publish(event(f"next to {job_id}", next(numbers)))
        ends = [each for each in got if (each.job_id, each.event_type) == (job_id, "completed")]
        return event("gap", 3) in got and len(ends) == 1

    wait_until(has_all)


@pytest.mark.parametrize("case", _CASES)
def test_all_calls_keep_their_bounds_and_the_next_need_starts_the_thread(
    place: Place, pool: ThreadPoolExecutor
) -> None:
    got: list[JobEvent] = []
    started: list[str] = []
    with running(place.container()) as container:
        with place.refused() as refused:
            in_order = subscribe(container, got)
            leave_a_gap(container, "gap")
            work(container, pool, "job")
            if place.case.has_events:
                hear_of(container, got, "job")
            if place.case.has_acknowledgements:
                wait_until(lambda: not place.is_marked())
            else:
                assert place.is_marked() is place.case.has_broker

        with refused_threads_where(lambda name: started.append(name) is not None):
            leave_a_gap(container, "another gap")
            wait_until(lambda: event("another gap", 3) in got)
            work(container, pool, "another")
            hear_of(container, got, "another")
            hear_of(container, got, "job")
            wait_until(lambda: not place.is_marked())
            assert refused, "nothing needed it: the case shows nothing"
            assert set(refused) <= set(started)
        in_order.close()


@pytest.mark.parametrize("case", _CASES)
def test_closing_raises_nothing_and_what_was_not_announced_is_announced_by_the_next_process(
    place: Place, pool: ThreadPoolExecutor
) -> None:
    container = place.container()
    with place.refused(), within(_CLOSE_SECONDS + 30):
        with running(container):
            in_order = subscribe(container, [])
            work(container, pool, "job")
            left_at = time.monotonic()
        assert time.monotonic() - left_at <= _CLOSE_SECONDS + BUSY_SECONDS
        in_order.close()

    with place.engine() as engine:
        row = row_of(engine, "job")
        assert (row["status"], row["progress"]) == ("completed", 100)
        was_marked = place.is_marked()
        assert was_marked or not place.case.has_broker or place.case.has_acknowledgements
        with engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET unannounced_at = 1 WHERE unannounced_at > 1"))
    announced: list[JobEvent] = []
    with running(place.container()) as following:
        following.broadcaster().subscribe(announced.append)
        following.job_repository().fetch_next_job(["another"])
        wait_until(lambda: not place.is_marked())
        wait_until(lambda: not was_marked or [each.progress for each in announced] == [100])


# Leases without their thread


def refused_keeper() -> AbstractContextManager[list[str]]:
    return refused_threads_where(lambda name: name == "lease-keeper")


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[tuple[JobManagement, JobManagement, Engine]]:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    claiming, other = (repository_on(engine, JOB_LEASE_SECONDS=_LEASE_SECONDS) for _ in range(2))
    yield claiming, other, engine
    engine.dispose()


@pytest.mark.slow  # as long as two leases
def test_a_worker_that_reports_keeps_its_job_however_long_the_thread_is_refused(
    two_hosts: tuple[JobManagement, JobManagement, Engine],
) -> None:
    claiming, other, _ = two_hosts
    claiming.add_job(job())
    with refused_keeper():
        assert claiming.fetch_next_job(_RESIZE)
        ends_at = time.monotonic() + 2 * _LEASE_SECONDS
        while time.monotonic() < ends_at:
            assert claiming.update_job("job", at(1))
            assert other.fetch_next_job(_RESIZE) is None
            time.sleep(0.02)  # as a worker reports

    assert claiming.update_job("job", completed())


@pytest.mark.slow  # as long as a lease
def test_a_thread_that_starts_late_renews_at_once_what_waited_for_it(
    two_hosts: tuple[JobManagement, JobManagement, Engine],
) -> None:
    claiming, other, engine = two_hosts
    claiming.add_job(job())
    with refused_keeper():
        assert claiming.fetch_next_job(_RESIZE)
        first = row_of(engine, "job")["lease_expires_at"]
        assert isinstance(first, int)
        wait_until(lambda: time.time() * 1000 > first - 1_500)
    assert claiming.update_job("job", at(1))
    wait_until(lambda: time.time() * 1000 > first)

    assert other.recover_expired() == 0
    assert claiming.update_job("job", completed())


@pytest.mark.slow  # as long as a lease
def test_a_job_whose_worker_says_nothing_runs_again_when_its_lease_has_ended(
    two_hosts: tuple[JobManagement, JobManagement, Engine],
) -> None:
    claiming, other, _ = two_hosts
    claiming.add_job(job())
    with refused_keeper():
        assert claiming.fetch_next_job(_RESIZE)
        assert other.wait_for_work(_RESIZE, _LEASE_SECONDS + _POLL_SECONDS + BUSY_SECONDS)
    assert other.fetch_next_job(_RESIZE)


# Progress without its thread


def test_a_report_beside_one_that_gets_no_thread_relies_on_no_thread(
    pool: ThreadPoolExecutor,
) -> None:
    throttle = ProgressThrottle(1, SystemClock(), lambda _job_id, _progress: None)
    now_ms = SystemClock().now_ms()
    assert throttle.admits("job", 1, now_ms)
    beside: list[Future[bool]] = []

    def report_beside(name: str) -> bool:
        if name == "late-progress" and not beside:
            beside.append(pool.submit(throttle.admits, "job", 3, now_ms))
            wait(beside, 0.5)  # it may have to wait until this one is refused
        return name == "late-progress"

    with refused_threads_where(report_beside):
        assert throttle.admits("job", 2, now_ms)
        assert beside[0].result(60), "else nobody writes the furthest"


# Event loops, whose calls take anyio's threads


async def _run_and_close(folder: Path) -> list[str]:
    container = Container(settings=providers.Object(settings(CL_SERVER_DIR=str(folder))))
    async with running(container):
        jobs = container.async_job_repository()
        calls: list[Callable[[], object]] = [
            partial(jobs.add_job, job()),
            partial(jobs.wait_for_job, "job", 60),
        ]
        return [await _refusal(call) for call in calls]


async def _refusal(call: Callable[[], object]) -> str:
    try:
        await call()  # pyright: ignore[reportGeneralTypeIssues]
    except RuntimeError as error:
        return str(error)
    return "not refused"


def run_without_threads(folder: Path, backend: str) -> list[str]:
    refuse_threads()
    return anyio.run(_run_and_close, folder, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_container_of_an_event_loop_opens_and_closes_and_its_calls_are_refused(
    tmp_path: Path, backend: str
) -> None:
    with child(partial(run_without_threads, tmp_path, backend)) as process:
        assert process.result() == ["can't start new thread"] * 2
    jobs = repository_on(make_engine(f"sqlite:///{tmp_path}/media_store.db"))
    assert jobs.get_job("job") is None

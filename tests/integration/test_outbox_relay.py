"""The outbox's thread: on real databases, in real processes."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final, final, override

import pytest
from sqlalchemy import Engine, text

from cl_server_shared.container import running
from cl_server_shared.database import make_engine
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.process.clock import Clock, SystemClock
from tests.support.faulty_brokers import dropped
from tests.support.manual_broadcaster import ManualBroadcaster
from tests.support.repositories import container_on, job, row_of
from tests.support.servers import free_address
from tests.support.waiting import BUSY_SECONDS, wait_until

pytest_plugins = ["tests.support.databases"]

_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "first_use_at_exit.py"
_EVENT: Final = JobEvent(
    job_id="job", event_type=JobStatus.queued, timestamp=1, progress=0, task_type="resize", seq=1
)


@final
class CountingClock(Clock):
    """Counts how often it was asked: the outbox asks at every poll."""

    def __init__(self) -> None:
        self.asked = 0

    @override
    def now_ms(self) -> int:
        self.asked += 1
        return SystemClock().now_ms()


def test_a_database_that_fails_at_every_poll_is_told_of_once(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    clock = CountingClock()
    with running(
        container_on(sqlite_engine, clock=clock, broadcaster=ManualBroadcaster())
    ) as container:
        container.job_repository().fetch_next_job(["resize"])
        with sqlite_engine.begin() as connection:
            connection.execute(text("DROP TABLE jobs"))
        asked = clock.asked
        wait_until(lambda: clock.asked >= asked + 2)

    assert len([line for line in caplog.messages if "cannot be served" in line]) == 1


def test_a_call_while_the_interpreter_ends_works_without_a_thread(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    command = [sys.executable, str(_PROGRAM), url, *map(str, free_address())]
    ended = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)

    engine = make_engine(url)
    marked = row_of(engine, "late")["unannounced_at"]
    engine.dispose()
    assert "Traceback" not in ended.stdout
    has_told = "the thread 'outbox' cannot start" in ended.stdout
    assert has_told is (sys.version_info < (3, 13)), "later ones start threads in `atexit` too"
    assert marked is not None


def test_a_host_that_hangs_is_waited_for_once_however_often_one_closes() -> None:
    with dropped() as address:
        broadcaster = MqttBroadcaster(*address, "jobs")
        broadcaster.publish(_EVENT)
        began_at = time.monotonic()
        for _ in range(10):
            broadcaster.close()

    assert time.monotonic() - began_at <= 2 + BUSY_SECONDS


def test_a_job_is_announced_by_the_thread_of_a_repository_that_is_only_asked(
    sqlite_engine: Engine,
) -> None:
    manual = ManualBroadcaster()
    clock = SystemClock()
    with running(container_on(sqlite_engine, broadcaster=manual)) as container:
        container.job_repository().add_job(job())
    with sqlite_engine.begin() as connection:
        old = {"old": clock.now_ms() - 6_000}
        connection.execute(text("UPDATE jobs SET unannounced_at = :old"), old)

    broadcaster = ManualBroadcaster()
    with running(container_on(sqlite_engine, broadcaster=broadcaster)) as container:
        container.job_repository().fetch_next_job(["another"])
        wait_until(lambda: broadcaster.in_flight)
        broadcaster.deliver()
        wait_until(lambda: row_of(sqlite_engine, "job")["unannounced_at"] is None)

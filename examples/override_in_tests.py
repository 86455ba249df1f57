# ruff: noqa: S101  # a test is made of asserts
"""Swap the broadcaster, the clock and the storage for a test: one line each, checked by types.

    python examples/override_in_tests.py
    pytest examples/override_in_tests.py        in a clone, after: pip install -e '.[dev]'

`Container` takes a replacement for each of its providers by name, and refuses one that lacks what
its port has. A type checker sees more, and earlier: the parameters of `container_for_test` are the
ports. Replacements go to the constructor, and each test gets a container of its own: nothing that
was built before the swap, and nothing of another test, is left in it.

`cl_server_shared.testing` has a clock and a container for one test ready made; here they are made
by hand, to show how.
"""

import tempfile
from pathlib import Path
from typing import final, override

import anyio
from dependency_injector import providers

from cl_server_shared import Container, JobRecord, JobRecordUpdate, JobStatus, Settings, running
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.protocols.files import JobStorage


@final
class SetClock(Clock):
    """A clock that stands still until somebody sets it."""

    def __init__(self) -> None:
        self.time_ms = 1_700_000_000_000

    @override
    def now_ms(self) -> int:
        return self.time_ms


def container_for_test(
    folder: Path,
    broadcaster: Broadcaster,
    clock: Clock,
    storage: JobStorage,
) -> Container:
    """Return a container on the database in *folder*, with these three parts of yours."""
    settings = Settings(CL_SERVER_DIR=str(folder), JOB_LEASE_SECONDS=30)
    return Container(
        settings=providers.Object(settings),
        broadcaster=providers.Object(broadcaster),
        clock=providers.Object(clock),
        job_storage=providers.Object(storage),
    )


def test_every_change_is_announced(tmp_path: Path) -> None:
    """MemoryBroadcaster remembers what was published: no broker, no waiting."""
    events = MemoryBroadcaster()
    storage = LocalJobStorage(tmp_path / "files")
    with running(container_for_test(tmp_path, events, SetClock(), storage)) as container:
        jobs = container.job_repository()
        jobs.add_job(JobRecord(job_id="a", task_type="echo"))
        jobs.fetch_next_job(["echo"])
        jobs.update_job("a", JobRecordUpdate(progress=50))
        jobs.update_job("a", JobRecordUpdate(status=JobStatus.completed))

    told = [(event.event_type.value, event.progress) for event in events.published]
    assert told == [("queued", 0), ("processing", 0), ("processing", 50), ("completed", 100)]


def test_a_silent_workers_job_goes_to_the_next(tmp_path: Path) -> None:
    """With a clock of our own, half a minute passes in no time."""
    clock, storage = SetClock(), LocalJobStorage(tmp_path / "files")
    silent = container_for_test(tmp_path, MemoryBroadcaster(), clock, storage)
    other = container_for_test(tmp_path, MemoryBroadcaster(), clock, storage)
    with running(silent), running(other):
        silent.job_repository().add_job(JobRecord(job_id="a", task_type="echo"))
        silent.job_repository().fetch_next_job(["echo"])
        assert other.job_repository().fetch_next_job(["echo"]) is None

        clock.time_ms += 30_000
        taken_over = other.job_repository().fetch_next_job(["echo"])
        too_late = JobRecordUpdate(status=JobStatus.completed)

        assert taken_over is not None
        assert not silent.job_repository().update_job("a", too_late)


def test_files_are_kept_where_the_test_says(tmp_path: Path) -> None:
    """Whoever asks the container for the storage gets the one of the test."""
    storage = LocalJobStorage(tmp_path / "files")
    with running(
        container_for_test(tmp_path, MemoryBroadcaster(), SetClock(), storage)
    ) as container:
        saved = anyio.run(container.job_storage().save, "a", "input/hello.txt", b"hello")

    stored = tmp_path / "files" / "jobs" / "a" / saved.relative_path
    assert stored.read_bytes() == b"hello"


def main() -> None:
    """Run the three tests, each in a folder of its own."""
    for test in (
        test_every_change_is_announced,
        test_a_silent_workers_job_goes_to_the_next,
        test_files_are_kept_where_the_test_says,
    ):
        with tempfile.TemporaryDirectory(prefix="cl-override-") as folder:
            test(Path(folder))
        print(f"passed: {test.__name__}")


if __name__ == "__main__":
    main()

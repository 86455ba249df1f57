"""A parent with a live engine forks: nobody disturbs anybody."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from cl_server_shared.database import DatabaseOptions, database_of, make_engine
from cl_server_shared.jobs.outbox import Outbox
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.support.manual_broadcaster import ManualBroadcaster
from tests.support.processes import child
from tests.support.repositories import at, completed, container_on, job, repository_on
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]
pytestmark = pytest.mark.slow  # forks beside work

CHILDREN = 4
ROUNDS = 10
FORKS = 100
_ARRIVED: Final = True


def work(repository: SqlJobRepository, name: str) -> None:
    """Add, claim, report and complete jobs of a task type of one's own."""
    for number in range(ROUNDS):
        job_id = f"{name}-{number}"
        assert repository.add_job(job(job_id, name))
        claimed = repository.fetch_next_job([name])
        assert claimed is not None
        assert claimed.job_id == job_id
        assert repository.update_job(job_id, at(50))
        assert repository.update_job(job_id, completed({"by": name}))


def fork(function: partial[None]) -> int:
    """Run a function in a fork of this process, which ends without the parent's own exit."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:  # noqa: BLE001  # told by the exit status
            os._exit(1)
        os._exit(0)
    return pid


def statuses(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def work_beside_forks(url: str) -> tuple[list[int], dict[str, dict[str, int]]]:
    """Hold a claim, so that a lease keeper runs, and fork; then all use the one repository."""
    repository = repository_on(make_engine(url))
    repository.add_job(job("parent's own", "long"))
    assert repository.fetch_next_job(["long"])
    work(repository, "before")

    pids = [fork(partial(work, repository, f"child {number}")) for number in range(CHILDREN)]
    work(repository, "parent")
    exits = statuses(pids)

    work(repository, "after")
    assert repository.update_job("parent's own", completed())
    return exits, repository.count_jobs()


def test_four_forks_use_the_repository_beside_their_parent(shared_database_url: str) -> None:
    with child(partial(work_beside_forks, shared_database_url)) as parent:
        exits, counts = parent.result()

    kinds = ["before", "parent", "after", *(f"child {number}" for number in range(CHILDREN))]
    assert exits == [0] * CHILDREN
    assert counts == {"completed": {"long": 1, **dict.fromkeys(kinds, ROUNDS)}}


def hold_beside_a_fork(url: str, ready: Path) -> None:
    """Claim a job, and fork a child that claims another and keeps it; then wait to be killed."""
    repository = repository_on(make_engine(url), JOB_LEASE_SECONDS=1)
    repository.fetch_next_job(["parent"])
    pid = os.fork()
    if pid == 0:
        repository.fetch_next_job(["child"])
        ready.write_text(str(os.getpid()))
    time.sleep(60)


def test_a_fork_does_not_keep_its_killed_parents_claim_alive(tmp_path: Path) -> None:
    url, ready = f"sqlite:///{tmp_path}/jobs.db", tmp_path / "ready"
    engine = make_engine(url)
    repository = repository_on(engine)
    for task_type in ("parent", "child"):
        repository.add_job(job(task_type, task_type))
    with child(partial(hold_beside_a_fork, url, ready)) as parent:
        wait_until(lambda: ready.exists() and ready.read_text())
        parent.kill()
        try:
            wait_until(lambda: repository.fetch_next_job(["parent"]), within_seconds=5)

            assert repository.fetch_next_job(["child"]) is None
        finally:
            os.kill(int(ready.read_text()), 9)
            engine.dispose()


def record_on_and_on(outbox: Outbox, arrivals: Sequence[Callable[[bool], object]]) -> None:
    """Do what the outbox's thread does, without its pauses."""
    while True:
        for settle in arrivals:
            settle(_ARRIVED)
        outbox.record()


def fork_beside_the_outbox(url: str) -> int:
    """Fork again and again while states are recorded; return how many children hung."""
    engine, broadcaster = make_engine(url), ManualBroadcaster()
    container = container_on(engine, broadcaster=broadcaster)
    container.job_repository().add_jobs([job(f"job {number}") for number in range(200)])
    outbox = container.outbox().outbox(database_of(engine, DatabaseOptions()))
    arguments = (outbox, [settle for _, settle in broadcaster.in_flight])
    threading.Thread(target=record_on_and_on, args=arguments, daemon=True).start()
    return sum(hangs(fork(partial(open_and_close, url))) for _ in range(FORKS))


def open_and_close(url: str) -> None:
    make_engine(url).connect().close()


def hangs(pid: int) -> bool:
    """Wait for a child; one that is not done within some seconds never will be."""
    try:
        wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0])
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True
    return False


def test_no_child_is_forked_in_the_middle_of_a_recording(tmp_path: Path) -> None:
    with child(partial(fork_beside_the_outbox, f"sqlite:///{tmp_path}/jobs.db")) as parent:
        assert parent.result() == 0

"""A parent with a live engine and live claims, and its children: way to start, folder, URL.

`python -m tests.faults.process_trees fork|spawn|forkserver FOLDER URL`. A forked child goes on with
the parent's own repository; the others build one. Everybody notes what happened in the folder.
"""

import multiprocessing
import os
import sys
import threading
import time
import traceback
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobStatus
from tests.faults.journal import Journal, Step, entries
from tests.faults.process_environment import LEASE_SECONDS, ProcessEnvironment, number_of
from tests.support.repositories import at, completed, job
from tests.support.waiting import wait_until

CHILDREN: Final = ("child 1", "child 2")
PARENT: Final = "parent"
WORKERS: Final = (PARENT, *CHILDREN)
HOLDER: Final = "holder"
HELD: Final = ("held 1", "held 2")
SHARED_JOBS: Final = 100
_SHARED: Final = "shared"
_PROCESSES: Final = {
    "fork": multiprocessing.get_context("fork").Process,
    "spawn": multiprocessing.get_context("spawn").Process,
    "forkserver": multiprocessing.get_context("forkserver").Process,
}


def journal_of(folder: Path, name: str) -> Path:
    """Tell where a process of the tree notes what happened."""
    return folder / f"{name}.journal"


def work(repository: SqlJobRepository, name: str, folder: Path) -> None:
    """Complete one's own job and shared ones, until there is a file called `end`.

    Nobody works on when the process that started this one is gone, and with it the test.

    Jobs that the parent holds are asked for too: they are offered only if its lease was let go.
    """
    journal = Journal(journal_of(folder, name))
    journal.note(Step.ready)
    parent = os.getppid()
    try:
        while os.getppid() == parent and not folder.joinpath("end").exists():
            _work_once(repository, name, journal)
    except Exception:  # noqa: BLE001  # told by the journal, whose reader counts it
        journal.note(Step.failed, note=traceback.format_exc())


def _work_once(repository: SqlJobRepository, name: str, journal: Journal) -> None:
    journal.note(Step.claim)
    claimed = repository.fetch_next_job([name, _SHARED, *HELD])
    if claimed is None:
        time.sleep(0.002)
        return
    job_id = claimed.job_id
    journal.note(Step.claimed, job_id)
    journal.note(Step.progress, job_id)
    journal.note(Step.progressed, job_id, repository.update_job(job_id, at(50)))
    journal.note(Step.complete, job_id)
    told = repository.update_job(job_id, completed({"token": name}))
    journal.note(Step.completed, job_id, name if told else "")


def _work_as_stranger(environment: ProcessEnvironment, name: str, folder: Path) -> None:
    work(environment.repository(), name, folder)


def _started(
    method: str, environment: ProcessEnvironment, repository: SqlJobRepository, folder: Path
) -> list[BaseProcess]:
    multiprocessing.set_forkserver_preload(["tests.faults.process_trees"])
    process = _PROCESSES[method]
    children: list[BaseProcess] = [
        process(target=work, args=(repository, name, folder))
        if method == "fork"
        else process(target=_work_as_stranger, args=(environment, name, folder))
        for name in CHILDREN
    ]
    for child in children:
        child.start()
    return children


def main(method: str, folder: Path, environment: ProcessEnvironment) -> None:
    """Hold claims, work beside the children for longer than a lease, finish what was held."""
    engine = make_engine(environment.url)
    repository, journal = environment.repository(engine), Journal(journal_of(folder, HOLDER))
    _hold(repository, journal)
    children = _started(method, environment, repository, folder)
    worker = threading.Thread(target=work, args=(repository, PARENT, folder))
    worker.start()
    try:
        _go_through_a_lease(engine, repository, journal, folder)
    finally:
        folder.joinpath("end").touch()
        for each in (*children, worker):
            each.join()


def _go_through_a_lease(
    engine: Engine, repository: SqlJobRepository, journal: Journal, folder: Path
) -> None:
    wait_until(lambda: all(entries(journal_of(folder, name)) for name in WORKERS), 30)
    _add(repository, journal)
    enough_at = time.monotonic() + 1.5 * LEASE_SECONDS
    jobs = len(WORKERS) + SHARED_JOBS
    wait_until(
        lambda: time.monotonic() > enough_at and number_of(engine, JobStatus.completed) == jobs,
        30,
    )
    _finish_held(repository, journal)


def _hold(repository: SqlJobRepository, journal: Journal) -> None:
    for job_id in HELD:
        repository.add_job(job(job_id, job_id))
        journal.note(Step.claim)
        assert repository.fetch_next_job([job_id])
        journal.note(Step.claimed, job_id)


def _add(repository: SqlJobRepository, journal: Journal) -> None:
    shared = [(f"shared {number}", _SHARED) for number in range(SHARED_JOBS)]
    for job_id, task_type in (*zip(WORKERS, WORKERS, strict=True), *shared):
        journal.note(Step.added, job_id, repository.add_job(job(job_id, task_type)))


def _finish_held(repository: SqlJobRepository, journal: Journal) -> None:
    for job_id in HELD:
        journal.note(Step.complete, job_id)
        told = repository.update_job(job_id, completed({"token": HOLDER}))
        journal.note(Step.completed, job_id, HOLDER if told else "")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), ProcessEnvironment(sys.argv[3]))

"""Workers that freeze over their lease, and what they are told when they thaw."""

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import override

from cl_server_shared.errors import JobLost
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.faults.journal import Journal, Step
from tests.faults.process_environment import ProcessEnvironment
from tests.support.repositories import at, completed, failed
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Late:
    """What a worker was told after its thaw, and what it published."""

    progress: str
    completion: bool
    error: bool
    events: int


class _Warnings(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def report_late(environment: ProcessEnvironment, job_id: str, *, after_keeper: bool) -> Late:
    """Claim the only job of a type, freeze, and report once thawed.

    Args:
        environment: the database.
        job_id: the job, and its type.
        after_keeper: report only when the lease keeper has found the claim gone; else at once.
    """
    broadcaster = MemoryBroadcaster()
    repository = environment.repository(broadcaster=broadcaster)
    assert repository.fetch_next_job([job_id])
    assert repository.update_job(job_id, at(10))
    log = _Warnings()
    logging.getLogger("cl_server_shared").addHandler(log)
    os.kill(os.getpid(), signal.SIGSTOP)
    told_before = len(broadcaster.published)
    if after_keeper:
        wait_until(lambda: any("was lost" in message for message in log.messages))
    return Late(
        _progress(repository, job_id),
        repository.update_job(job_id, completed({"by": "late"})),
        repository.update_job(job_id, failed("late")),
        len(broadcaster.published) - told_before,
    )


def _progress(repository: SqlJobRepository, job_id: str) -> str:
    try:
        return str(repository.update_job(job_id, at(50)))
    except JobLost as error:
        return type(error).__name__


def complete_when_told(environment: ProcessEnvironment, job_id: str, folder: Path) -> None:
    """Claim the only job of a type; complete it once `{job_id}.go` exists; end when `end` does."""
    repository, journal = environment.repository(), Journal(folder / f"{job_id}.journal")
    journal.note(Step.claim)
    assert repository.fetch_next_job([job_id])
    journal.note(Step.claimed, job_id)
    wait_until(folder.joinpath(f"{job_id}.go").exists)
    journal.note(Step.complete, job_id)
    told = repository.update_job(job_id, completed({"token": "first"}))
    journal.note(Step.completed, job_id, "first" if told else "")
    wait_until(folder.joinpath("end").exists)


def take_over(environment: ProcessEnvironment, job_ids: list[str], folder: Path) -> None:
    """Complete whatever can be claimed of some types until all of them are completed."""
    repository, journal = environment.repository(), Journal(folder / "successor.journal")
    while not all(_is_completed(repository, job_id) for job_id in job_ids):
        journal.note(Step.claim)
        claimed = repository.fetch_next_job(job_ids)
        if claimed is None:
            time.sleep(0.002)
            continue
        journal.note(Step.claimed, claimed.job_id)
        journal.note(Step.complete, claimed.job_id)
        told = repository.update_job(claimed.job_id, completed({"token": "second"}))
        journal.note(Step.completed, claimed.job_id, "second" if told else "")


def _is_completed(repository: SqlJobRepository, job_id: str) -> bool:
    found = repository.get_job(job_id)
    return found is not None and found.status == "completed"


def is_frozen(pid: int) -> bool:
    """Tell whether a process is stopped (proc(5): state T)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(") ")[2].startswith("T")

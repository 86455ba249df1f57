"""A worker that dies of some of the jobs it works on."""

import os
import signal
import time
from pathlib import Path

from tests.faults.journal import Journal, Step
from tests.faults.process_environment import ProcessEnvironment
from tests.support.repositories import at, completed

HARMLESS = "harmless"
POISON = "poison"


def work_until_it_kills(environment: ProcessEnvironment, journal_path: Path) -> None:
    """Complete job after job, and die of the first one that is poison."""
    repository, journal = environment.repository(), Journal(journal_path)
    while True:
        claimed = repository.fetch_next_job([HARMLESS, POISON])
        if claimed is None:
            time.sleep(0.002)
            continue
        journal.note(Step.claimed, claimed.job_id)
        repository.update_job(claimed.job_id, at(30))
        if claimed.task_type == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        journal.note(
            Step.completed, claimed.job_id, repository.update_job(claimed.job_id, completed())
        )

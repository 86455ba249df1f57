"""What the processes do whose events are watched."""

import os
import time
from itertools import count
from pathlib import Path
from typing import Final

from cl_server_shared.container import running
from cl_server_shared.protocols.jobs import JobManagement
from tests.faults.event_environment import EventEnvironment
from tests.support.repositories import at, completed, job

_POLL_SECONDS: Final = 0.05


def do_jobs(
    environment: EventEnvironment, task_type: str, pause_seconds: float, stop: Path
) -> None:
    """Do one job after the other until the file *stop* is there; then only poll for work."""
    with running(environment.container()) as container:
        jobs = container.job_repository()
        for number in count():
            if stop.exists():
                break
            do_a_job(jobs, f"{os.getpid()}-{number}", task_type)
            time.sleep(pause_seconds)
        poll_for_work(jobs)


def do_a_job(jobs: JobManagement, job_id: str, task_type: str) -> None:
    """Add a job, claim one, report on it three times and complete it: six events."""
    assert jobs.add_job(job(job_id, task_type))
    claimed = jobs.fetch_next_job([task_type])
    assert claimed is not None
    for progress in (25, 50, 75):
        jobs.update_job(claimed.job_id, at(progress))
    assert jobs.update_job(claimed.job_id, completed())


def change_states(environment: EventEnvironment, task_type: str, pause_seconds: float = 0) -> None:
    """Add, claim and complete one job after the other, until killed: every event is a new state."""
    with running(environment.container()) as container:
        jobs = container.job_repository()
        for number in count():
            assert jobs.add_job(job(f"{os.getpid()}-{number}", task_type))
            claimed = jobs.fetch_next_job([task_type])
            assert claimed is not None
            assert jobs.update_job(claimed.job_id, completed())
            time.sleep(pause_seconds)


def only_poll(environment: EventEnvironment) -> None:
    """Be the next process: it has nothing to do, and polls for work until killed."""
    with running(environment.container()) as container:
        poll_for_work(container.job_repository())


def poll_for_work(jobs: JobManagement) -> None:
    """Poll for jobs of a type that nobody adds, until killed."""
    while True:
        assert jobs.fetch_next_job(["nothing"]) is None
        time.sleep(_POLL_SECONDS)

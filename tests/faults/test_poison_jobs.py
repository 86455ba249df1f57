"""Jobs that kill every worker that works on them, beside jobs that do not."""

from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.attempt_log import logged_attempts
from cl_server_shared.models import JobStatus
from tests.faults.journal import Entry, Step, entries
from tests.faults.poison import HARMLESS, POISON, work_until_it_kills
from tests.faults.process_environment import ProcessEnvironment, number_of
from tests.support.processes import child
from tests.support.repositories import job, row_of
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

MAX_RETRIES = {"deadly 0": 0, "deadly 1": 1, "deadly 2": 2}
DEATHS = sum(MAX_RETRIES.values()) + len(MAX_RETRIES)


def work_until_nobody_dies(
    environment: ProcessEnvironment, engine: Engine, folder: Path
) -> list[list[Entry]]:
    """Start a worker whenever one died; return what each noted, the one that lived last."""
    journals = [folder / f"worker{number}.journal" for number in range(DEATHS + 1)]
    for journal in journals[:-1]:
        with (
            child(partial(work_until_it_kills, environment, journal)) as worker,
            pytest.raises(ChildProcessError, match="died"),
        ):
            worker.result()
    with child(partial(work_until_it_kills, environment, journals[-1])):
        wait_until(lambda: number_of(engine, JobStatus.error) == len(MAX_RETRIES))
        environment.repository(engine).add_job(job("last", HARMLESS))
        wait_until(lambda: any(entry.job_id == "last" for entry in done(entries(journals[-1]))))
    return [entries(journal) for journal in journals]


def done(noted: list[Entry]) -> list[Entry]:
    return [entry for entry in noted if entry.step is Step.completed]


def test_a_job_whose_worker_always_dies_ends_after_exactly_its_tries(
    shared_database_url: str, tmp_path: Path
) -> None:
    environment = ProcessEnvironment(shared_database_url)
    engine = make_engine(environment.url)
    repository = environment.repository(engine)
    for job_id, max_retries in MAX_RETRIES.items():
        repository.add_job(job(job_id, POISON), max_retries=max_retries)
    repository.add_job(job("beside", HARMLESS))

    noted = work_until_nobody_dies(environment, engine, tmp_path)

    claims = Counter(e.job_id for e in chain(*noted) if e.step is Step.claimed)
    tries = {job_id: retries + 1 for job_id, retries in MAX_RETRIES.items()}
    assert claims == {**tries, "beside": 1, "last": 1}
    assert repository.fetch_next_job([POISON, HARMLESS]) is None
    for job_id, max_retries in MAX_RETRIES.items():
        ended_as_error(engine, job_id, max_retries)
    engine.dispose()


def ended_as_error(engine: Engine, job_id: str, max_retries: int) -> None:
    row = row_of(engine, job_id)
    attempts = logged_attempts(str(row["attempts"]))

    assert (row["status"], row["retry_count"]) == ("error", max_retries)
    assert "stopped answering" in str(row["error_message"])
    assert f"all {max_retries + 1} tries are used up" in str(row["error_message"])
    assert [attempt.attempt for attempt in attempts] == list(range(1, max_retries + 2))
    assert len({attempt.worker for attempt in attempts}) == max_retries + 1
    assert all(attempt.error and attempt.ended_at for attempt in attempts)

"""Workers killed at random moments; the full form is `python -m tests.faults.worker_kills`."""

from pathlib import Path
from random import Random

import pytest

from cl_server_shared.models import Job, JobStatus
from tests.faults.job_assertions import findings
from tests.faults.journal import Entry, Step
from tests.faults.process_environment import ProcessEnvironment
from tests.faults.worker_kills import kill_workers

pytest_plugins = ["tests.support.databases"]

KILLS = 40
_BY_THE_CLOCK = {"unfinished at lease + 1 s"}


@pytest.mark.parametrize(
    ("shared_database_url", "sqlite_wal"),
    [("sqlite file", False), ("sqlite file", True), ("postgresql", True)],
    indirect=["shared_database_url"],
)
def test_no_killed_worker_loses_a_job_or_finishes_one_twice(
    shared_database_url: str, tmp_path: Path, *, sqlite_wal: bool
) -> None:
    environment = ProcessEnvironment(shared_database_url, sqlite_wal=sqlite_wal)
    result = kill_workers(environment, KILLS, tmp_path, Random())

    print(f"\n{result}")
    assert len(result.deaths) == KILLS
    # When each job was done depends on who gets a processor: the full form, alone on a machine,
    # insists on it.
    faults = {what: n for what, n in result.findings.faults.items() if what not in _BY_THE_CLOCK}
    assert dict.fromkeys(faults, 0) == faults
    assert result.integrity == "ok"


def test_what_must_not_happen_would_be_counted() -> None:
    loser = [(1, Step.claim), (2, Step.claimed), (9, Step.progress), (10, Step.progressed)]
    winner = [(4, Step.claim), (5, Step.claimed), (6, Step.complete), (7, Step.completed)]
    again = [(11, Step.complete), (12, Step.completed)]
    journals = [
        [Entry(at_ns, step, "job", "True") for at_ns, step in noted]
        for noted in (loser, winner, again)
    ]
    row = Job(job_id="job", task_type="work", status=JobStatus.error, created_at=0, completed_at=9)

    assert findings([row], journals, due_at=8).faults == {
        "acknowledged jobs that are gone": 0,
        "jobs that never ended": 0,
        "completed twice": 1,
        "acknowledged completions undone": 2,
        "unfinished at lease + 1 s": 1,
        "ended as error": 1,
        "taken over within the lease": 1,
        "late writes accepted": 2,
        "errors in a process": 0,
    }
    lost = [[Entry(1, Step.added, "gone", "True"), Entry(2, Step.failed)]]
    row = row.model_copy(update={"status": JobStatus.processing})
    faults = findings([row], lost, due_at=10).faults
    assert [name for name, number in faults.items() if number] == [
        "acknowledged jobs that are gone",
        "jobs that never ended",
        "errors in a process",
    ]

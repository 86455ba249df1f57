"""Sixteen threads of one process; a parent and its children, however they were started."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from dependency_injector import providers
from sqlmodel import Session, select

from cl_server_shared.container import Container, running
from cl_server_shared.database import make_engine
from cl_server_shared.models import Job
from cl_server_shared.protocols.jobs import JobRepository
from tests.faults.job_assertions import findings
from tests.faults.journal import Step, entries
from tests.faults.process_trees import HELD, HOLDER, SHARED_JOBS, WORKERS, journal_of
from tests.support.repositories import at, completed, job, settings

pytest_plugins = ["tests.support.databases"]

THREADS = 16
JOBS_OF_EACH = 400
TREE = Path(__file__).parents[2]


@pytest.fixture
def container(database_url: str) -> Iterator[Container]:
    """As a service has it; its engine too is the container's own."""
    given = settings(STORE_DATABASE_URL=database_url)
    with running(Container(settings=providers.Object(given))) as container:
        yield container


def add_and_drain(repository: JobRepository, name: str) -> list[str]:
    """Add jobs, then complete whosever jobs until there are none; what was refused fails."""
    for number in range(JOBS_OF_EACH):
        assert repository.add_job(job(f"{name}-{number}"))
    drained: list[str] = []
    while claimed := repository.fetch_next_job(["resize"]):
        assert repository.update_job(claimed.job_id, at(50))
        assert repository.update_job(claimed.job_id, completed())
        drained.append(claimed.job_id)
    return drained


def test_sixteen_threads_complete_400_jobs_each_once(container: Container) -> None:
    repository = container.job_repository()
    with ThreadPoolExecutor(THREADS) as threads:
        names = [f"thread {number}" for number in range(THREADS)]
        running_threads = [threads.submit(add_and_drain, repository, name) for name in names]
        drained = Counter(job_id for each in running_threads for job_id in each.result())

    jobs = THREADS * JOBS_OF_EACH
    assert (len(drained), set(drained.values())) == (jobs, {1})
    assert repository.count_jobs() == {"completed": {"resize": jobs}}


def run_process_tree(method: str, url: str, folder: Path) -> None:
    """Run it in a process of its own: this one has threads, which no fork should inherit."""
    with folder.joinpath("output").open("wb") as output:
        tree = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.process_trees", method, str(folder), url],
            cwd=TREE,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        assert tree.wait(80) == 0, folder.joinpath("output").read_text()
    finally:
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(tree.pid, signal.SIGKILL)


# What is inherited differs between a file and a socket; the other two ways inherit nothing.
@pytest.mark.parametrize(
    ("method", "shared_database_url"),
    [
        ("fork", "sqlite file"),
        ("fork", "postgresql"),
        ("spawn", "postgresql"),
        ("forkserver", "sqlite file"),
    ],
    indirect=["shared_database_url"],
)
def test_a_parent_and_its_children_do_not_disturb_each_other(
    method: str, shared_database_url: str, tmp_path: Path
) -> None:
    run_process_tree(method, shared_database_url, tmp_path)
    engine = make_engine(shared_database_url)
    with Session(engine) as session:
        rows = session.exec(select(Job)).all()
    engine.dispose()

    noted = {name: entries(journal_of(tmp_path, name)) for name in (*WORKERS, HOLDER)}
    found = findings(rows, list(noted.values()), due_at=2**63)
    shares = {n: sum(e.step is Step.completed for e in noted[n]) for n in WORKERS}
    print(f"\n{method}: {shares}")
    assert found.faults == dict.fromkeys(found.faults, 0)
    jobs = len(WORKERS) + SHARED_JOBS + len(HELD)
    assert (found.jobs, found.claims, found.retries, found.refused) == (jobs, jobs, 0, 0)
    assert all(shares.values())

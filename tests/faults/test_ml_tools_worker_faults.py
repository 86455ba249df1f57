"""cl_ml_tools' own Worker, unchanged, in processes that are cancelled, killed, or fail."""

import time
from functools import partial
from pathlib import Path

import pytest
from cl_ml_tools import Job

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.attempt_log import logged_attempts
from tests.faults.journal import Entry, Step, entries
from tests.faults.ml_tools_worker import COMPLAINT, FAILING, LONG, adapted, run_worker
from tests.faults.process_environment import ProcessEnvironment
from tests.support.processes import child
from tests.support.repositories import row_of
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

MAX_RETRIES = 2


@pytest.fixture
def environment(shared_database_url: str) -> ProcessEnvironment:
    return ProcessEnvironment(shared_database_url, max_retries=MAX_RETRIES)


def add(
    environment: ProcessEnvironment, folder: Path, job_id: str, task_type: str, **params: object
) -> None:
    adapted(environment, folder).add_job(Job(job_id=job_id, task_type=task_type, params=params))


def reports(journal: Path) -> list[Entry]:
    return [entry for entry in entries(journal) if entry.step is Step.progressed]


@pytest.mark.parametrize(
    ("pause_seconds", "step", "throttled_seconds"),
    [
        pytest.param(0.06, 1, 0, id="each report is progress"),
        pytest.param(0.001, 0, 0, id="each report says the same"),
        pytest.param(0.03, 1, 2, id="more than PROGRESS_MAX_PER_SECOND"),
    ],
)
def test_a_cancelled_job_ends_at_its_workers_next_written_report(
    environment: ProcessEnvironment,
    tmp_path: Path,
    pause_seconds: float,
    step: int,
    throttled_seconds: float,
) -> None:
    journal, never = tmp_path / "journal", tmp_path / "never"
    add(environment, tmp_path, "job", LONG, pause_seconds=pause_seconds, step=step, end=str(never))
    engine = make_engine(environment.url)
    with child(partial(run_worker, environment, tmp_path, journal)):
        wait_until(lambda: len(reports(journal)) > (22 if throttled_seconds else 2))
        assert environment.repository(engine).cancel_job("job", "enough")
        must_know_at_ns = time.monotonic_ns() + throttled_seconds * 1e9
        wait_until(lambda: row_of(engine, "job")["status"] == "error")
        noted = entries(journal)

    row = row_of(engine, "job")
    engine.dispose()
    assert (noted[-1].step, noted[-1].note) == (Step.failed, "JobCancelled")
    begun = [entry for entry in noted[:-2] if entry.step is Step.progress]
    assert [entry for entry in begun if entry.at_ns > must_know_at_ns] == []
    assert (row["error_message"], row["retry_count"]) == ("cancelled: enough", 0)


def test_a_killed_workers_job_is_recovered_by_another_worker(
    environment: ProcessEnvironment, tmp_path: Path
) -> None:
    journal, end = tmp_path / "journal", tmp_path / "end"
    add(environment, tmp_path, "job", LONG, pause_seconds=0.06, step=1, end=str(end))
    engine = make_engine(environment.url)
    with child(partial(run_worker, environment, tmp_path, journal)) as worker:
        wait_until(lambda: len(reports(journal)) > 2)
        with child(partial(run_worker, environment, tmp_path, tmp_path / "second")) as second:
            worker.kill()
            wait_until(lambda: reports(tmp_path / "second"))
            end.touch()
            wait_until(lambda: row_of(engine, "job")["status"] == "completed")

    found = adapted(environment, tmp_path).get_job("job")
    row = row_of(engine, "job")
    engine.dispose()
    assert found is not None
    assert (found.task_output, found.progress) == ({"by": second.pid}, 100)
    (attempt,) = logged_attempts(str(row["attempts"]))
    assert (row["retry_count"], attempt.attempt) == (1, 1)
    assert "stopped answering" in attempt.error


def test_a_failing_task_is_tried_again_until_its_tries_are_used_up(
    environment: ProcessEnvironment, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    add(environment, tmp_path, "job", FAILING)
    engine = make_engine(environment.url)
    with child(partial(run_worker, environment, tmp_path, journal)):
        wait_until(lambda: row_of(engine, "job")["status"] == "error")
        add(environment, tmp_path, "next", LONG, pause_seconds=0, step=0, end=str(tmp_path))
        wait_until(lambda: row_of(engine, "next")["status"] == "completed")

    row = row_of(engine, "job")
    attempts = logged_attempts(str(row["attempts"]))
    engine.dispose()
    assert [entry.job_id for entry in entries(journal)] == ["job"] * (MAX_RETRIES + 1)
    assert (row["error_message"], row["retry_count"]) == (COMPLAINT, MAX_RETRIES)
    assert [attempt.error for attempt in attempts] == [COMPLAINT] * (MAX_RETRIES + 1)

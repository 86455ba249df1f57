"""How many files a reader of one call crosses: counted on real calls, so that it stays."""

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, final

import pytest

import cl_server_shared
from cl_server_shared import Container, JobRecord, JobRecordUpdate, running
from cl_server_shared.protocols import JobManagement

_SOURCE: Final = f"{Path(cl_server_shared.__file__).parent}/"


class Walk(NamedTuple):
    """Of all functions that a call enters: their files, and how often the next is in another."""

    files: int
    changes: int


@final
class _Recorder:
    """Takes down the file of each function of ours that the thread enters."""

    def __init__(self) -> None:
        self.entered: Final[list[str]] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(_SOURCE):
            self.entered.append(name.removeprefix(_SOURCE))


def walked(call: Callable[[], object]) -> Walk:
    recorder = _Recorder()
    sys.setprofile(recorder)
    try:
        call()
    finally:
        sys.setprofile(None)
    print(f"\n{len(recorder.entered)} functions:", *dict.fromkeys(recorder.entered))
    changes = sum(one != other for one, other in pairwise(recorder.entered))
    return Walk(len(set(recorder.entered)), changes)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobManagement]:
    """Return a repository on a SQLite file that has done all of it before, a moment ago."""
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path))
    monkeypatch.setenv("BROADCAST_TYPE", "memory")
    with running(Container()) as container:
        repository = container.job_repository()
        for job_id in ("before", "first", "second"):
            repository.add_job(_job(job_id))
        for _ in range(2):  # the first claims look for what is due, once in 250 ms
            repository.fetch_next_job(["resize"])
        repository.update_job("before", JobRecordUpdate(progress=1))
        yield repository


def _job(job_id: str) -> JobRecord:
    return JobRecord(job_id=job_id, task_type="resize", params={"width": 800})


def test_an_add_crosses_at_most_14_files(jobs: JobManagement) -> None:
    new = _job("new")

    walk = walked(lambda: jobs.add_job(new))

    assert (walk.files <= 14, walk.changes <= 16) == (True, True), walk


def test_a_claim_crosses_at_most_16_files(jobs: JobManagement) -> None:
    walk = walked(lambda: jobs.fetch_next_job(["resize"]))

    assert (walk.files <= 16, walk.changes <= 25) == (True, True), walk


def test_a_report_of_progress_crosses_at_most_16_files(jobs: JobManagement) -> None:
    halfway = JobRecordUpdate(progress=50)

    walk = walked(lambda: jobs.update_job("before", halfway))

    assert (walk.files <= 16, walk.changes <= 30) == (True, True), walk

"""cl_ml_tools' own Worker in a process, with tasks that go on for long, or fail."""

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol, final, override

import anyio
from cl_ml_tools import ComputeModule, Job
from cl_ml_tools.common.schemas import BaseJobParams
from cl_ml_tools.worker import Worker

from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.integrations.ml_tools import MlToolsJobRepository
from tests.faults.journal import Journal, Step
from tests.faults.process_environment import ProcessEnvironment

LONG: str = "long"
FAILING: str = "failing"
COMPLAINT: str = "this picture has no colours"


class _Runner(Protocol):
    async def run_once(self, task_types: list[str] | None = None) -> bool: ...


class LongParams(BaseJobParams):
    """How a long task behaves.

    It reports *step* more every *pause_seconds*, and is done once a file *end* exists.
    """

    pause_seconds: float
    step: int
    end: Path


@final
class _LongTask(ComputeModule):
    """Notes each of its reports."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    @override
    def task_type(self) -> str:
        return LONG

    @override
    def get_schema(self) -> type[BaseJobParams]:
        return LongParams

    @override
    async def execute(
        self,
        job: Job,
        params: BaseJobParams,
        progress_callback: Callable[[int], None] | None = None,
    ) -> dict[str, object]:
        assert isinstance(params, LongParams)
        assert progress_callback is not None
        for number in count():
            if params.end.exists():
                break
            self._report(job.job_id, partial(progress_callback, 1 + number * params.step))
            await anyio.sleep(params.pause_seconds)
        return {"status": "ok", "task_output": {"by": os.getpid()}}

    def _report(self, job_id: str, report: Callable[[], None]) -> None:
        self._journal.note(Step.progress, job_id)
        try:
            report()
        except Exception as error:
            self._journal.note(Step.failed, job_id, type(error).__name__)
            raise
        self._journal.note(Step.progressed, job_id)


@final
class _FailingTask(ComputeModule):
    """Fails whenever it is tried."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    @override
    def task_type(self) -> str:
        return FAILING

    @override
    def get_schema(self) -> type[BaseJobParams]:
        return BaseJobParams

    @override
    async def execute(
        self,
        job: Job,
        params: BaseJobParams,
        progress_callback: Callable[[int], None] | None = None,
    ) -> dict[str, object]:
        self._journal.note(Step.claimed, job.job_id)
        raise ValueError(COMPLAINT)


def adapted(environment: ProcessEnvironment, folder: Path) -> MlToolsJobRepository:
    """Build the repository as cl_ml_tools wants it."""
    return MlToolsJobRepository(environment.repository(), LocalJobStorage(folder / "files"))


def run_worker(environment: ProcessEnvironment, folder: Path, journal_path: Path) -> None:
    """Run job after job, until killed."""
    journal = Journal(journal_path)
    tasks: dict[str, ComputeModule] = {LONG: _LongTask(journal), FAILING: _FailingTask(journal)}
    worker: _Runner = Worker(adapted(environment, folder), task_registry=tasks)

    async def run() -> None:
        while True:
            if not await worker.run_once():
                await anyio.sleep(0.01)

    anyio.run(run)

"""Processes that are killed at random and started again, and what each was doing when it died."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from tests.faults.job_assertions import Death
from tests.faults.journal import Entry, Step, entries
from tests.faults.process_environment import ProcessEnvironment
from tests.faults.worker_processes import add_on_and_on, work_on_and_on
from tests.support.processes import Child

WORKERS: Final = 8
_PHASES: Final = {
    Step.claim: "in claim",
    Step.progress: "in progress",
    Step.complete: "in complete",
    Step.claimed: "between calls",
    Step.progressed: "between calls",
    Step.add: "in add",
}
_AT_WORK: Final = frozenset({Step.added, Step.claimed, Step.found_nothing})


@final
class _RestartedProcess:
    """A process that has a successor as soon as it is killed; each has a journal of its own."""

    def __init__(self, run: Callable[[Path], None], folder: Path, name: str) -> None:
        self._run, self._folder, self._name = run, folder, name
        self.journals: Final[list[Path]] = []
        self._process = self._start()

    def _start(self) -> Child[None]:
        journal = self._folder / f"{self._name}-{len(self.journals)}.journal"
        self.journals.append(journal)
        return Child(partial(self._run, journal))

    def is_at_work(self) -> bool:
        """Tell whether its first call is behind it."""
        return any(entry.step in _AT_WORK for entry in entries(self.journals[-1]))

    def kill(self) -> Death | None:
        """Kill it; None: it had just found nothing to do, or finished a job."""
        self._process.kill()
        at_ns, noted = time.monotonic_ns(), entries(self.journals[-1])
        phase = _PHASES.get(noted[-1].step) if noted else None
        return None if phase is None else Death(at_ns, phase, noted[-1].job_id)

    def replace(self) -> Death | None:
        """Kill it and start its successor."""
        death = self.kill()
        self._process = self._start()
        return death


@final
class KillHarness:
    """Eight workers and one who adds jobs, on one database.

    Args:
        environment: the database.
        folder: for the journals.
    """

    def __init__(self, environment: ProcessEnvironment, folder: Path) -> None:
        work, add = partial(work_on_and_on, environment), partial(add_on_and_on, environment)
        self.adder: Final = _RestartedProcess(add, folder, "adder")
        self.workers: Final = [
            _RestartedProcess(work, folder, f"worker{n}") for n in range(WORKERS)
        ]

    def journals(self) -> list[list[Entry]]:
        """Read what everyone noted, the dead ones too."""
        processes = [self.adder, *self.workers]
        return [entries(journal) for process in processes for journal in process.journals]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in (self.adder, *self.workers):
            process.kill()

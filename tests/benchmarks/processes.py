"""Several processes that begin at the same moment."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.support.processes import child
from tests.support.waiting import wait_until

_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class StartBarrier:
    """Where processes wait for each other; its files tell who is there."""

    folder: Path

    def wait(self) -> None:
        """Tell that this process is ready, and wait until all are."""
        self.folder.joinpath(uuid4().hex).touch()
        wait_until(self.folder.joinpath("open").exists, within_seconds=_TIMEOUT_SECONDS)

    def release(self, processes: int) -> None:
        """Wait until this many processes are ready, and let them go."""
        wait_until(
            lambda: len(list(self.folder.iterdir())) >= processes,
            within_seconds=_TIMEOUT_SECONDS,
        )
        self.folder.joinpath("open").touch()


def run_together[R](run: Callable[[StartBarrier], R], processes: int) -> list[R]:
    """Run a picklable function in several processes; each waits at the barrier before its work."""
    with tempfile.TemporaryDirectory(prefix="cl-barrier-") as folder, ExitStack() as stack:
        barrier = StartBarrier(Path(folder))
        children = [stack.enter_context(child(partial(run, barrier))) for _ in range(processes)]
        barrier.release(processes)
        return [each.result(_TIMEOUT_SECONDS) for each in children]

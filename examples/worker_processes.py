"""Worker processes for the length of a `with` block."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

type Worker = subprocess.Popen[bytes]

_TIMEOUT_SECONDS: Final = 1.0


@contextmanager
def worker_processes(
    count: int, settings: Mapping[str, str], log: Path
) -> Generator[Sequence[Worker]]:
    """Run `worker_service.py` in *count* processes; at the end each finishes the job that it has.

    Args:
        count: how many.
        settings: what their environment has beyond or other than ours.
        log: the file to which they write.
    """
    command = (sys.executable, Path(__file__).with_name("worker_service.py"))
    workers: list[Worker] = []
    # Left from right to left: all are asked to stop before the first is waited for.
    with log.open("ab") as output, ExitStack() as endings, ExitStack() as requests:
        for _ in range(count):
            worker = subprocess.Popen(  # noqa: S603  # this Python runs the file beside this one
                command,
                env=os.environ | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            workers.append(worker)
            endings.callback(_end, worker)
            requests.callback(worker.terminate)
        yield workers


def _end(worker: Worker) -> None:
    """Wait for a worker to end, not for ever; the job of one that is killed runs again."""
    try:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_TIMEOUT_SECONDS)
    finally:
        worker.kill()
        worker.wait()

"""Worker processes that announce themselves, and obey."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, final

from tests.support.servers import Address
from tests.support.waiting import wait_until

_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "announce.py"


@final
class PresenceWorker:
    """A running `programs/announce.py`, with what it prints in a file."""

    def __init__(
        self, broker: Address, prefix: str, folder: Path, worker_id: str, heartbeat_seconds: float
    ) -> None:
        arguments = [*map(str, broker), prefix, worker_id, str(heartbeat_seconds)]
        self._output: Final = folder / f"worker-{len(list(folder.iterdir()))}.out"
        with self._output.open("wb") as output:
            self._process: Final = subprocess.Popen(
                [sys.executable, str(_PROGRAM), *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        """What it printed until now, its log too."""
        return self._output.read_text()

    def order(self, order: str) -> None:
        """Send it an order: a number of jobs, `fork` or `close`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()

    def fork(self) -> int:
        """Have it fork; return the child's process id."""
        self.order("fork")
        wait_until(lambda: "forked" in self._whole_lines())
        return int(self._whole_lines().split("forked")[1].split()[0])

    def _whole_lines(self) -> str:
        """What it printed, up to the last end of a line: a number may arrive in pieces."""
        return self.output.rpartition("\n")[0]

    def exit(self) -> int:
        """Let it come to its end, and return its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(30)

    def kill(self) -> None:
        """End it without a chance to clear its message; harmless when it has ended."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Freeze it."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Thaw it."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def presence_worker(
    broker: Address,
    prefix: str,
    folder: Path,
    worker_id: str = "w-1",
    heartbeat_seconds: float = 60,
) -> Generator[PresenceWorker]:
    """Start a worker that announces itself, and end it in any case."""
    started = PresenceWorker(broker, prefix, folder, worker_id, heartbeat_seconds)
    try:
        yield started
    finally:
        started.kill()
        with suppress(OSError):
            started.exit()


def end_process(pid: int) -> None:
    """Kill a process that somebody else started; harmless when it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

"""Real processes that know nothing of the test run: no pytest, no engine, no open connection."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast, final

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# A fresh server process imports the library once and forks the children: the state of this
# process stays out, and ten children do not import it ten times.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = ["cl_server_shared.container", "psycopg", "tests.repositories"]


@dataclass(frozen=True, slots=True)
class _Failed:
    traceback: str


@final
class Child[R]:
    """A running function in a process of its own."""

    def __init__(self, run: Callable[[], R]) -> None:
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        self._receiver, sender = _CONTEXT.Pipe(duplex=False)
        self._process: Final = _CONTEXT.Process(target=_run_alone, args=(run, sender), daemon=True)
        self._process.start()
        sender.close()

    def result(self, within_seconds: float = 60) -> R:
        """Wait for what the function returns.

        Raises:
            TimeoutError: it did not return in time.
            ChildProcessError: it raised, or its process was killed.
        """
        if not self._receiver.poll(within_seconds):
            raise TimeoutError(f"process {self.pid} is not done within {within_seconds} s")
        try:
            received = cast("R | _Failed", self._receiver.recv())  # what _run_alone sent
        except EOFError:
            raise ChildProcessError(f"process {self.pid} died: {self._process.exitcode}") from None
        if isinstance(received, _Failed):
            raise ChildProcessError(received.traceback)
        return received

    def failure(self) -> str | None:
        """Return the traceback of what it raised; None while it runs, and if it was killed."""
        try:
            self.result(0)
        except ChildProcessError as error:
            return str(error)
        except TimeoutError:
            return None
        return None

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """End it without a chance to say goodbye; harmless when it has ended."""
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        """Freeze it."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Thaw it."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def child[R](run: Callable[[], R]) -> Generator[Child[R]]:
    """Run a picklable function in a process of its own, and end that in any case."""
    started = Child(run)
    try:
        yield started
    finally:
        started.kill()


def _run_alone[R](run: Callable[[], R], sender: "Connection[R | _Failed, object]") -> None:
    """Run without the pipes of the test run, which a child that is left over would keep open."""
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123  # no file of ours
        for standard_stream in (0, 1, 2):
            os.dup2(nothing.fileno(), standard_stream)
    try:
        sender.send(run())
    except BaseException:  # noqa: BLE001  # told to the parent
        sender.send(_Failed(traceback.format_exc()))

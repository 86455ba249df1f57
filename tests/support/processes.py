"""Real processes that know nothing of the test run: no pytest, no engine, no open connection."""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Final, cast, final

# A fresh server process imports the library once and forks the children: the state of this
# process stays out, and ten children do not import it ten times.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = ["cl_server_shared.container", "psycopg", "tests.support.repositories"]


@dataclass(frozen=True, slots=True)
class _Failed:
    message: str
    traceback: str


@final
class Child[R]:
    """A running function in a process of its own."""

    def __init__(self, run: Callable[[], R]) -> None:
        self._receiver, self._process = _start(_run_alone, run)

    def result(self, within_seconds: float = 60) -> R:
        """Wait for what the function returns.

        Raises:
            TimeoutError: it did not return in time.
            ChildProcessError: it raised, which is told as the cause, or its process was killed.
        """
        return cast("R", _received(self._receiver, self._process, within_seconds))  # as run returns

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
        """End it without a chance to clean up; harmless when it has ended."""
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        """Freeze it."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Thaw it."""
        os.kill(self.pid, signal.SIGCONT)


@final
class Generation[R]:
    """A generator in a process of its own, which goes on when it is asked to."""

    def __init__(self, run: Callable[[], Generator[R]]) -> None:
        self._pipe, self._process = _start(_generate_alone, run)

    def next(self, within_seconds: float = 60) -> R:
        """Let it go on, and wait for what it yields.

        Raises:
            TimeoutError: it did not yield in time.
            ChildProcessError: it raised, it is at its end, or its process was killed.
        """
        self._pipe.send(None)
        return cast("R", _received(self._pipe, self._process, within_seconds))  # as run yields

    def close(self, within_seconds: float = 60) -> None:
        """Close it, and end its process."""
        self._pipe.close()
        self._process.join(within_seconds)
        self._process.kill()
        self._process.join()


@contextmanager
def child[R](run: Callable[[], R]) -> Generator[Child[R]]:
    """Run a picklable function in a process of its own, and end that in any case."""
    started = Child(run)
    try:
        yield started
    finally:
        started.kill()


def _start[T](
    target: Callable[[T, Connection], None], run: T
) -> tuple[Connection, ForkServerProcess]:
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=target, args=(run, theirs), daemon=True)
    process.start()
    theirs.close()
    assert isinstance(ours, Connection)  # Windows has another kind
    return ours, process


def _received(pipe: Connection, process: ForkServerProcess, within_seconds: float) -> object:
    if not pipe.poll(within_seconds):
        raise TimeoutError(f"process {process.pid} is not done within {within_seconds} s")
    try:
        received = cast("object", pipe.recv())  # recv returns Any
    except EOFError:
        raise ChildProcessError(f"process {process.pid} died: {process.exitcode}") from None
    if isinstance(received, _Failed):
        raise ChildProcessError(received.traceback) from RuntimeError(received.message)
    return received


def _run_alone(run: Callable[[], object], pipe: Connection) -> None:
    _without_streams()
    try:
        returned = run()
        _save_coverage()  # who has the answer may kill this process
        pipe.send(returned)
    except BaseException as error:  # noqa: BLE001  # told to the parent
        pipe.send(_Failed(str(error), traceback.format_exc()))


def _generate_alone(run: Callable[[], Generator[object]], pipe: Connection) -> None:
    _without_streams()
    try:
        with closing(run()) as generated:
            while _is_asked(pipe):
                pipe.send(next(generated))
    except BaseException as error:  # noqa: BLE001  # told to the parent
        pipe.send(_Failed(str(error), traceback.format_exc()))


def _is_asked(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except EOFError:
        return False
    return True


def _save_coverage() -> None:
    if "coverage" in sys.modules:
        from coverage import Coverage  # noqa: PLC0415  # it costs time where nobody measures
        from coverage.exceptions import DataError  # noqa: PLC0415  # likewise

        if (measured := Coverage.current()) is not None:
            with suppress(DataError):  # a child that gave up root's rights may not write there
                measured.save()


def _without_streams() -> None:
    """Do without the pipes of the test run, which a child that is left over would keep open."""
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123  # no file of ours
        for standard_stream in (0, 1, 2):
            os.dup2(nothing.fileno(), standard_stream)

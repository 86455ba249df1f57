"""The example scripts, run as a new user would: empty home, nothing else in the environment."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, final

from tests.support.interrupting import listening_to_ctrl_c
from tests.support.waiting import wait_until

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

_MEASURED: Final = {name: value for name, value in os.environ.items() if "COVERAGE" in name}


@final
class Script:
    """An example in a session of its own, with what it prints in a file."""

    def __init__(self, name: str, *arguments: str, folder: Path, settings: dict[str, str]) -> None:
        self._output: Final = folder / f"{name}.out"
        with self._output.open("wb") as output:
            self._process: Final = _start([name, *arguments], folder, settings, output.fileno())

    @property
    def output(self) -> str:
        """What it printed until now, both streams."""
        return self._output.read_text()

    def exit_code(self, within_seconds: float = 60) -> int:
        """Wait for its end."""
        return self._process.wait(within_seconds)

    def has_left_processes(self) -> bool:
        """Tell whether it, or a process that it started, still is there."""
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, to it alone."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Press Ctrl-C: a terminal sends it to every process in the foreground."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it and all that it started; harmless when they have ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def started(name: str, *arguments: str | Path, folder: Path, **settings: str) -> Generator[Script]:
    """Start an example, and end it in any case.

    Args:
        name: its file name.
        arguments: what follows it on the command line.
        folder: holds its home, its temporary files and its output.
        settings: all that its environment has beside.
    """
    script = Script(name, *map(str, arguments), folder=folder, settings=settings)
    try:
        yield script
    finally:
        script.kill()


def printed_by(name: str, *arguments: str | Path, folder: Path, **settings: str) -> str:
    """Run an example to its good end, and return what it printed."""
    with started(name, *arguments, folder=folder, **settings) as script:
        assert script.exit_code() == 0, script.output
        wait_until(lambda: not script.has_left_processes())
        return script.output


def shown_by(name: str, folder: Path) -> str:
    """Run an example on a terminal to its good end, and return all that it showed meanwhile."""
    terminal, its_side = pty.openpty()
    termios.tcsetwinsize(its_side, (40, 120))
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        process = _start([name], folder, {"TERM": "xterm"}, its_side)
        os.close(its_side)
        try:
            shown = b"".join(_read(screen))
            assert process.wait(10) == 0, shown
        finally:
            process.kill()
            process.wait()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def _read(screen: FileIO) -> Iterator[bytes]:
    """Yield what comes; Linux reports EIO once nobody has the other side open any more."""
    with suppress(OSError):
        while chunk := screen.read(65_536):
            yield chunk


def _start(
    command: list[str], folder: Path, settings: dict[str, str], output: int
) -> subprocess.Popen[bytes]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    with listening_to_ctrl_c():
        return subprocess.Popen(
            [sys.executable, EXAMPLES / command[0], *command[1:]],
            cwd=home,
            env={"HOME": str(home), "PATH": os.defpath, "TMPDIR": str(folder)}
            | settings
            | _MEASURED,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

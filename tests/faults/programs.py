"""Programs of `tests/programs`, run as processes of their own that a test may end."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PROGRAMS: Final = Path(__file__).parent.parent / "programs"


@contextmanager
def program(name: str, *arguments: object) -> Generator[subprocess.Popen[bytes]]:
    """Start a program without a pipe of ours, and end it in any case."""
    started = subprocess.Popen(
        [sys.executable, str(_PROGRAMS / name), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()

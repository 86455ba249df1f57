"""SIGTERM, which by itself ends a Python process without any clean-up."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Never


@contextmanager
def exit_on_sigterm() -> Generator[None]:
    """Make SIGTERM raise SystemExit(143) in a `with` block, so that the blocks around it are left.

    Where the program has a handler of its own, ignores the signal, or is not in its main thread
    (the only one that may set a handler), nothing changes. 143 is what a shell reports: 128 + 15.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _exit:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> Never:
    raise SystemExit(128 + number)

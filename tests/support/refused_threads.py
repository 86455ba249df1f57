"""A system that refuses threads, really: each asks for a stack larger than any address space."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import pytest

_STACK_BYTES: Final = 1 << 56


@contextmanager
def refused_threads() -> Generator[None]:
    """Have every start of a thread refused in this process; those that run go on."""
    refuse_threads()
    try:
        yield
    finally:
        threading.stack_size(0)


def refuse_threads() -> None:
    """Have every start of a thread refused in this process from now on."""
    threading.stack_size(_STACK_BYTES)


def refuse_start(_thread: threading.Thread) -> None:
    """Stand in for `threading.Thread.start`, where only some threads are to be refused."""
    raise RuntimeError("can't start new thread")


@contextmanager
def no_thread_can_start() -> Generator[None]:
    """Refuse every start of a thread in a `with` block; those that run go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_start)
        yield


@contextmanager
def refused_threads_where(is_refused: Callable[[str], bool]) -> Generator[list[str]]:
    """Refuse the threads whose names *is_refused* accepts; give the names of those refused."""
    start = threading.Thread.start
    refused: list[str] = []

    def start_or_refuse(thread: threading.Thread) -> None:
        if is_refused(thread.name):
            refused.append(thread.name)
            refuse_start(thread)
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_or_refuse)
        yield refused

"""A system that has no thread left to give."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Never

import pytest


@contextmanager
def no_thread_can_start() -> Generator[None]:
    """Refuse every start of a thread in a `with` block; those that run go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        yield


def _refuse(_thread: threading.Thread) -> Never:
    raise RuntimeError("can't start new thread")

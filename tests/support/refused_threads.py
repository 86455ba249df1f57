"""A system that has no more threads to give."""

import threading


def refuse_start(_thread: threading.Thread) -> None:
    """Stand in for `threading.Thread.start`."""
    raise RuntimeError("can't start new thread")

"""Wait for a condition instead of a time."""

import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.005


def wait_until(condition: Callable[[], object], within_seconds: float = 10.0) -> None:
    """Return once *condition* is true.

    Raises:
        TimeoutError: it was not within *within_seconds*.
    """
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {within_seconds} s: {condition}")
        time.sleep(_PAUSE_SECONDS)

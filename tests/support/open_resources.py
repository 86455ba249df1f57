"""What this process holds, threads and open files, so that a test can tell what it gained."""

import threading
from collections.abc import Hashable
from pathlib import Path


def open_resources() -> frozenset[Hashable]:
    """Every thread, and every open file by number and target.

    Tests compare by what is new: what an earlier test left may end at any moment.
    """
    return frozenset(threading.enumerate()) | frozenset(_open_files())


def _open_files() -> set[tuple[Path, Path]]:
    found: set[tuple[Path, Path]] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add((descriptor, descriptor.readlink()))
        except FileNotFoundError:  # the listing's own, and what another thread has closed
            continue
    return found

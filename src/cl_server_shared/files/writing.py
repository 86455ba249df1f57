"""Bringing bytes to an open file, and on to the disk."""

import os
import sys
from contextlib import suppress
from typing import Final

from cl_server_shared.files.sources import Chunk

_WORTH_STARTING_BYTES: Final = 256 * 1024


def write_all(descriptor: int, chunk: Chunk) -> None:
    """Write a chunk where the file stands, in as many steps as the system needs."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def start_write_back(descriptor: int, start: int, size_bytes: int) -> None:
    """Let the disk begin with a large chunk while the next is hashed; it may as well be ignored."""
    if sys.platform == "linux" and size_bytes >= _WORTH_STARTING_BYTES:
        # Linux begins to write what is dirty there, and keeps in memory what is being written.
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size_bytes, os.POSIX_FADV_DONTNEED)

"""What `save` accepts, turned into chunks of bytes."""

import os
from collections.abc import Awaitable, Buffer, Callable, Generator
from io import IOBase
from itertools import cycle
from os import PathLike
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from cl_server_shared.errors import InvalidSourceError

CHUNK_BYTES: Final = 1024 * 1024
CHUNKS_KEPT: Final = 3
"""A chunk stays as it is until so many others were asked for: work behind the reader has time."""
_SMALL_BYTES = 4096
_SMALL_MEMORY_BYTES = 64 * 1024

type Chunk = bytes | memoryview


def blocking_chunks(file: object) -> Generator[Chunk] | None:
    """Return the bytes of memory, of a path or of Python's own file objects; None of all else.

    To be consumed in a worker thread. A path is opened by the first chunk.

    Raises, with the first chunk:
        OSError: the path is absent, a folder or unreadable.
        InvalidSourceError: the path is a pipe, socket or device, or the file is open as text.
    """
    if isinstance(file, Buffer):
        return _memory_chunks(file)
    if isinstance(file, str | PathLike):
        return _path_chunks(Path(os.fsdecode(file)))
    if isinstance(file, IOBase):
        return reader_chunks(reader_of(file))
    return None


def is_small(file: object) -> bool:
    """Tell whether *file* is memory that is written in less time than a thread takes to wake."""
    return isinstance(file, Buffer) and memoryview(file).nbytes <= _SMALL_MEMORY_BYTES


def reader_of(file: object) -> Callable[[int], object]:
    """Return the `read` of an open stream, synchronous or not.

    Raises:
        InvalidSourceError: it has none.
    """
    read: object = getattr(file, "read", None)
    if not callable(read):
        raise InvalidSourceError(
            f"cannot save a {type(file).__name__}: give bytes, the path of a file, or an open"
            " binary stream with read(size)"
        )
    return read


def reader_chunks(read: Callable[[int], object]) -> Generator[Chunk]:
    """Read a synchronous stream to its end."""
    while chunk := checked_chunk(read(CHUNK_BYTES)):
        yield chunk


async def fill(batch: bytearray, read: Callable[[int], object]) -> bool:
    """Read an asynchronous stream into *batch* until it is worth a thread's while, about 1 MiB.

    Returns:
        Whether the stream is at its end.
    """
    while len(batch) < CHUNK_BYTES:
        answer = read(CHUNK_BYTES)
        chunk = checked_chunk(await answer if isinstance(answer, Awaitable) else answer)
        if not chunk:
            return True
        batch += chunk
    return False


def checked_chunk(chunk: object) -> bytes:
    """Return what a stream gave, as bytes of our own.

    Raises:
        InvalidSourceError: it gave anything but bytes.
    """
    if isinstance(chunk, Buffer):
        return bytes(chunk)
    raise InvalidSourceError(
        f"the stream's read() gave a {type(chunk).__name__}, not bytes: open it in binary mode"
    )


def _memory_chunks(data: Buffer) -> Generator[Chunk]:
    # A copy of what may change; bytes are not copied.
    view = memoryview(bytes(data))
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def _path_chunks(path: Path) -> Generator[Chunk]:
    """Read a file into a few buffers in turns."""
    found = path.stat()
    if not (S_ISREG(found.st_mode) or S_ISDIR(found.st_mode)):
        raise InvalidSourceError(f"'{path}' is no regular file: open it and give the stream")
    size_bytes = min(CHUNK_BYTES, max(_SMALL_BYTES, found.st_size + 1))
    buffers = cycle([memoryview(bytearray(size_bytes)) for _ in range(CHUNKS_KEPT + 1)])
    with path.open("rb", buffering=0) as source:
        for buffer in buffers:
            if not (count := source.readinto(buffer)):
                return
            yield buffer[:count]

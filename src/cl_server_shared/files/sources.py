"""What `save` accepts, turned into chunks of bytes."""

import os
import reprlib
from collections.abc import Awaitable, Buffer, Callable, Coroutine, Generator
from functools import partial
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
        InvalidSourceError: the path is a pipe, socket or device or has a NUL in it, or the file is
            closed or open as text.
    """
    if isinstance(file, Buffer):
        return _memory_chunks(file)
    if isinstance(file, str | PathLike):
        return _path_chunks(file)
    if isinstance(file, IOBase):
        return reader_chunks(reader_of(file))
    return None


def stream_chunks(file: object) -> Generator[Chunk]:
    """Return the bytes of an open stream of any kind whose `read` blocks.

    Raises:
        InvalidSourceError: it is no open stream; with the first chunk: it is asynchronous.
    """
    return reader_chunks(partial(_read_blocking, reader_of(file)))


def is_small(file: object) -> bool:
    """Tell whether *file* is memory that is written in less time than a thread takes to wake."""
    return isinstance(file, Buffer) and memoryview(file).nbytes <= _SMALL_MEMORY_BYTES


def reader_of(file: object) -> Callable[[int], object]:
    """Return the `read` of an open stream, synchronous or not.

    Raises:
        InvalidSourceError: it has none, or is closed.
    """
    read: object = getattr(file, "read", None)
    if isinstance(file, type) or not callable(read):
        raise _refusal(f"{reprlib.repr(file)} is a {type(file).__name__}")
    if getattr(file, "closed", False) is True:
        raise _refusal(f"{reprlib.repr(file)} is closed")
    return read


def reader_chunks(read: Callable[[int], object]) -> Generator[Chunk]:
    """Read a synchronous stream to its end."""
    while chunk := checked_chunk(read(CHUNK_BYTES)):
        yield chunk


async def fill(batch: bytearray, read: Callable[[int], object]) -> bool:
    """Read an asynchronous stream into *batch*, until that is 1 MiB or more: worth a thread.

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


def _path_chunks(given: str | PathLike[str] | PathLike[bytes]) -> Generator[Chunk]:
    """Read a file into a few buffers in turns."""
    try:
        path = Path(os.fsdecode(given))
        found = path.stat()
    except (TypeError, ValueError) as error:
        raise _refusal(f"{reprlib.repr(given)} is no path of a file ({error})") from error
    if not (S_ISREG(found.st_mode) or S_ISDIR(found.st_mode)):
        raise InvalidSourceError(f"'{path}' is no regular file: open it and give the stream")
    size_bytes = min(CHUNK_BYTES, max(_SMALL_BYTES, found.st_size + 1))
    buffers = cycle([memoryview(bytearray(size_bytes)) for _ in range(CHUNKS_KEPT + 1)])
    with path.open("rb", buffering=0) as source:
        for buffer in buffers:
            if not (count := source.readinto(buffer)):
                return
            yield buffer[:count]


def _read_blocking(read: Callable[[int], object], size_bytes: int) -> object:
    answer = read(size_bytes)
    if not isinstance(answer, Awaitable):
        return answer
    if isinstance(answer, Coroutine):
        answer.close()  # else Python warns that it was never awaited
    raise InvalidSourceError(
        "file is an asynchronous stream, which save_sync cannot read: use 'await save(...)' on an"
        " event loop, or give bytes, the path of a file, or a stream whose read(size) blocks"
    )


def _refusal(reason: str) -> InvalidSourceError:
    return InvalidSourceError(
        f"file {reason}: give bytes, the path of a file, or an open binary stream with read(size)"
    )

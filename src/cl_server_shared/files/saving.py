"""From any source to a stored file: bytes are read, hashed and written."""

from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from inspect import iscoroutinefunction
from itertools import chain
from typing import Final

from anyio import CancelScope, CapacityLimiter

from cl_server_shared.files.save_threads import save_threads
from cl_server_shared.files.sources import (
    CHUNK_BYTES,
    Chunk,
    blocking_chunks,
    checked_chunk,
    fill,
    is_small,
    reader_chunks,
    reader_of,
    stream_chunks,
)
from cl_server_shared.files.staging import StagedFile, Target
from cl_server_shared.files.worker_thread import Checkpoint, run_in_thread

# The first read of a stream of unknown kind may turn out to block the loop: it asks for little.
_FIRST_BYTES: Final = 4096


async def save_file(target: Target, file: object) -> StagedFile:
    """Store what *file* holds, and return what is then known of it.

    Memory, paths and Python's own file objects are read in one worker thread; streams on the event
    loop, chunk by chunk, and written in a thread.

    Raises:
        As `LocalJobStorage.save`.
    """
    staged, threads = StagedFile(target), save_threads(target.jobs)
    chunks = blocking_chunks(file)
    if chunks is None:
        await _save_stream(staged, reader_of(file), threads.others)
    else:
        # Threads that wait for the disk may be many.
        is_quick = is_small(file) and not target.fsync
        limiter = threads.small if is_quick else threads.others
        await run_in_thread(partial(_store_and_close, staged, chunks), limiter)
    return staged


def save_file_sync(target: Target, file: object) -> StagedFile:
    """Store what *file* holds, in this thread, and return what is then known of it.

    Raises:
        As `LocalJobStorage.save_sync`.
    """
    staged = StagedFile(target)
    _store_and_close(staged, blocking_chunks(file) or stream_chunks(file), _go_on)
    return staged


async def _save_stream(
    staged: StagedFile, read: Callable[[int], object], limiter: CapacityLimiter
) -> None:
    first = read(CHUNK_BYTES if iscoroutinefunction(read) else _FIRST_BYTES)
    if isinstance(first, Awaitable):
        batch = bytearray(checked_chunk(await first))
        await _save_awaited(staged, batch, read, limiter)
    else:
        chunks = chain([checked_chunk(first)], reader_chunks(read))
        await run_in_thread(partial(_store, staged, chunks), limiter)


async def _save_awaited(
    staged: StagedFile,
    batch: bytearray,
    read: Callable[[int], object],
    limiter: CapacityLimiter,
) -> None:
    try:
        while not await fill(batch, read):
            await run_in_thread(partial(staged.append, [memoryview(batch)]), limiter)
            batch = bytearray()  # the last one is being hashed
        await run_in_thread(partial(_store, staged, [memoryview(batch)]), limiter)
    finally:
        if staged.is_open:
            await _close(staged, limiter)


async def _close(staged: StagedFile, limiter: CapacityLimiter) -> None:
    try:
        with CancelScope(shield=True):
            await run_in_thread(lambda _: staged.close(), limiter)
    finally:
        # A second Task.cancel() of asyncio gets through the shield: then it is closed here.
        staged.close()


def _store_and_close(staged: StagedFile, chunks: Generator[Chunk], checkpoint: Checkpoint) -> None:
    # A failed loop would leave the generator, and with it the source file, to the collector.
    with closing(chunks):
        _store(staged, chunks, checkpoint)


def _store(staged: StagedFile, chunks: Iterable[Chunk], checkpoint: Checkpoint) -> None:
    with staged:
        staged.append(chunks, checkpoint)
        staged.commit(checkpoint)


def _go_on() -> None:
    """Let the work go on: nobody can cancel it."""

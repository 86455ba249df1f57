"""Saves where the system refuses threads: they end as errors, or do without."""

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, final

import anyio
import pytest
from anyio import to_thread

from cl_server_shared.files.storage import LocalJobStorage
from tests.support.processes import child
from tests.support.refused_threads import refuse_threads, refused_threads
from tests.support.saving_processes import MIB, TARGET
from tests.support.stored_files import files_on_disk

pytestmark = pytest.mark.anyio

REFUSED: Final = "the system refuses a thread (can't start new thread)"
BOTH: Final = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def storage(tmp_path: Path) -> LocalJobStorage:
    return LocalJobStorage(tmp_path)


def refusal(error: OSError) -> str:
    assert error.errno == errno.EAGAIN
    return str(error.strerror).split(":")[0]


async def _save_all(base: Path) -> list[str]:
    storage, told = LocalJobStorage(base), list[str]()
    for source in (b"small", bytes(2 * MIB), base / "source"):
        try:
            await storage.save("job", TARGET, source)
        except OSError as error:
            told.append(refusal(error))
    return told


def save_without_threads(base: Path, backend: str) -> list[str]:
    refuse_threads()
    return anyio.run(_save_all, base, backend=backend)


@BOTH
def test_a_save_for_which_there_is_no_thread_says_so_and_leaves_the_old_file(
    storage: LocalJobStorage, tmp_path: Path, backend: str
) -> None:
    (tmp_path / "source").write_bytes(b"source")
    storage.save_sync("job", TARGET, b"old")

    with child(partial(save_without_threads, tmp_path, backend)) as saving:
        told = saving.result()

    assert told == [REFUSED] * 3
    assert files_on_disk(tmp_path / "jobs" / "job") == {TARGET: b"old"}


@final
class ThreadTakingStream:
    """An asynchronous stream of 1 MiB chunks that takes the last thread after the second."""

    def __init__(self, take: Callable[[], Awaitable[None]]) -> None:
        self._take = take
        self._chunks = 0

    async def read(self, size: int = -1, /) -> bytes:
        self._chunks += 1
        if self._chunks == 3:
            await self._take()
        return b"n" * size if self._chunks < 5 else b""


async def _save_stream_until_refused(base: Path) -> str:
    begun, released = anyio.Event(), threading.Event()

    def occupy() -> None:
        anyio.from_thread.run_sync(begun.set)
        released.wait(20)

    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            tasks.start_soon(to_thread.run_sync, occupy)
            await begun.wait()
            refuse_threads()

        try:
            await LocalJobStorage(base).save("job", TARGET, ThreadTakingStream(take))
        except OSError as error:
            return f"{refusal(error)}; {len(files_on_disk(base / 'jobs' / 'job'))} files"
        finally:
            released.set()
    return "stored"


def save_stream_until_refused(base: Path, backend: str) -> str:
    return anyio.run(_save_stream_until_refused, base, backend=backend)


@BOTH
def test_a_stream_for_which_threads_are_refused_half_way_leaves_the_old_file(
    storage: LocalJobStorage, tmp_path: Path, backend: str
) -> None:
    storage.save_sync("job", TARGET, b"old")

    with child(partial(save_stream_until_refused, tmp_path, backend)) as saving:
        told = saving.result()

    assert told == f"{REFUSED}; 1 files"
    assert files_on_disk(tmp_path / "jobs" / "job") == {TARGET: b"old"}


async def test_a_large_save_whose_hashing_gets_no_thread_stores_and_records_the_truth(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    content = os.urandom(8 * MIB)
    (tmp_path / "source").write_bytes(content)
    await to_thread.run_sync(int)  # that thread is free for the save

    with refused_threads():
        saved = await storage.save("job", "input/a", tmp_path / "source")
        alone = storage.save_sync("job", "input/b", content)

    assert saved.hash == alone.hash == sha256(content).hexdigest()
    assert storage.verify("job").is_sound


@final
class CancellingFile:
    """A synchronous stream that cancels its own save at its tenth chunk."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._chunks_left = 100_000

    def read(self, size: int = -1, /) -> bytes:
        del size
        self._chunks_left -= 1
        if self._chunks_left == 99_990:
            anyio.from_thread.run_sync(self._cancel)
        return b"n" if self._chunks_left else b""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_where_threads_are_refused_has_stopped_writing_when_it_ends(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    async def save() -> None:
        task = asyncio.current_task()
        assert task is not None
        await storage.save("job", "input/a", CancellingFile(task.cancel))

    await to_thread.run_sync(int)  # that thread is free for the save
    with refused_threads(), pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(save())

    assert files_on_disk(tmp_path / "jobs" / "job") == {}

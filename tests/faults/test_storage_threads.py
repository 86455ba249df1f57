"""Saves that share few threads, and saves to which the system refuses one."""

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

from cl_server_shared.files.paths import CHECKSUMS
from cl_server_shared.files.save_threads import SaveThreads, save_threads
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.processes import child
from tests.support.refused_threads import refuse_threads, refused_threads
from tests.support.saving_processes import MIB, TARGET
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio

REFUSED: Final = "the system refuses a thread (can't start new thread)"
BOTH: Final = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@final
class BlockingFile:
    """A synchronous stream that gives its one byte when it is released."""

    def __init__(self, released: threading.Event) -> None:
        self._released = released
        self._rest = b"x"
        self.is_read = False

    def read(self, size: int = -1, /) -> bytes:
        if size > MIB // 2:  # not the first read, which is done on the loop
            self.is_read = True
            assert self._released.wait(20)
            return b""
        chunk, self._rest = self._rest, b""
        return chunk


@pytest.fixture
def storage(tmp_path: Path) -> LocalJobStorage:
    return LocalJobStorage(tmp_path)


def limits(folder: Path) -> SaveThreads:
    return save_threads(folder / "jobs")


def hold_all(limiter: anyio.CapacityLimiter) -> list[object]:
    holders = [object() for _ in range(int(limiter.total_tokens))]
    for holder in holders:
        limiter.acquire_on_behalf_of_nowait(holder)
    return holders


def left_in(job: Path) -> dict[str, bytes]:
    """Every file of a job but the record of saves, the temporary ones too."""
    return {
        str(path.relative_to(job)): path.read_bytes()
        for path in job.rglob("*")
        if path.is_file() and path.name != CHECKSUMS
    }


async def test_small_saves_and_other_work_go_on_while_blocking_sources_hold_all_threads(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    released = threading.Event()
    at_once = int(limits(tmp_path).others.total_tokens)
    files = [BlockingFile(released) for _ in range(at_once + 5)]
    async with anyio.create_task_group() as tasks:
        for number, file in enumerate(files):
            tasks.start_soon(storage.save, "job", f"input/{number}", file)
        await to_thread.run_sync(wait_until, lambda: sum(file.is_read for file in files) >= at_once)
        with anyio.fail_after(20):
            await storage.save("job", "input/small", b"small")
        default = to_thread.current_default_thread_limiter()

        assert sum(file.is_read for file in files) == at_once
        assert default.borrowed_tokens == 0
        released.set()

    assert len(storage.list_files("job")) == at_once + 6


async def test_other_saves_and_other_storages_go_on_while_small_saves_wait(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    threads = limits(tmp_path)
    holders = hold_all(threads.small)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(storage.save, "job", "input/small", b"small")
        await to_thread.run_sync(wait_until, lambda: threads.small.statistics().tasks_waiting)
        with anyio.fail_after(20):
            await storage.save("job", "input/large", bytes(MIB))
            await LocalJobStorage(tmp_path / "other").save("job", "input/small", b"small")

        assert storage.list_files("job") == ["input/large"]
        for holder in holders:
            threads.small.release_on_behalf_of(holder)

    assert storage.list_files("job") == ["input/large", "input/small"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's threads have no name of their own
async def test_many_small_saves_at_once_take_two_threads(storage: LocalJobStorage) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(storage.save, "job", f"input/{number}", b"x")

    names = [thread.name for thread in threading.enumerate()]
    assert 1 <= sum(name.startswith("AnyIO worker") for name in names) <= 2
    assert len(storage.list_files("job")) == 200


async def test_a_save_cancelled_while_it_waits_for_a_thread_stores_nothing(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    threads = limits(tmp_path)
    hold_all(threads.small)
    hold_all(threads.others)

    with anyio.move_on_after(0.01) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storage.save, "job", "input/small", b"x")
            tasks.start_soon(storage.save, "job", "input/large", bytes(MIB))

    assert scope.cancelled_caught
    assert list((tmp_path / "jobs").iterdir()) == []


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
    assert left_in(tmp_path / "jobs" / "job") == {TARGET: b"old"}


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
            return f"{refusal(error)}; {len(left_in(base / 'jobs' / 'job'))} files"
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
    assert left_in(tmp_path / "jobs" / "job") == {TARGET: b"old"}


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

    assert left_in(tmp_path / "jobs" / "job") == {}

"""Saves that share few threads: which of them wait for each other, and what goes on meanwhile."""

import threading
from pathlib import Path
from typing import final

import anyio
import pytest
from anyio import to_thread

from cl_server_shared.files.save_threads import SaveThreads, save_threads
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.saving_processes import MIB
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


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

"""Saves that are cancelled, whose source fails, or whose job is removed under way."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Final, final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.paths import TEMPORARY_PREFIX
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.saving_processes import MIB, SOURCES
from tests.support.stored_files import files_on_disk

pytestmark = pytest.mark.anyio

SOURCE_BYTES: Final = 8 * MIB
BOTH: Final = ("asyncio", "trio")
CASES = [
    (backend, kind)
    for backend in BOTH
    for kind in SOURCES
    if (backend, kind) != ("trio", "aiofiles")
]


class UploadBrokenError(Exception):
    """What a client that hangs up makes of a stream."""


@final
class ScriptedStream:
    """Gives 3 chunks of 1 MiB, then does what the test wants."""

    def __init__(self, last_act: Callable[[], Awaitable[bytes]]) -> None:
        self._chunks_left = 3
        self._last_act = last_act

    async def read(self, size: int = -1, /) -> bytes:
        self._chunks_left -= 1
        return b"n" * size if self._chunks_left >= 0 else await self._last_act()


@final
class FailingFile:
    """A synchronous stream that fails after 3 MiB."""

    def __init__(self) -> None:
        self._chunks_left = 3

    def read(self, size: int = -1, /) -> bytes:
        self._chunks_left -= 1
        if self._chunks_left < 0:
            raise UploadBrokenError
        return b"n" * size


async def fail() -> bytes:
    raise UploadBrokenError


async def turn_to_text() -> bytes:
    return "text"  # pyright: ignore[reportReturnType]  wrong on purpose


@pytest.fixture
def storage(tmp_path: Path) -> LocalJobStorage:
    return LocalJobStorage(tmp_path / "base")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"n" * SOURCE_BYTES)
    return path


def on_disk(storage: LocalJobStorage) -> dict[str, bytes]:
    return files_on_disk(storage.resolve_path("job"))


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  a count, no paths


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (lambda: ScriptedStream(fail), UploadBrokenError),
        (lambda: ScriptedStream(turn_to_text), TypeError),
        (FailingFile, UploadBrokenError),
    ],
)
async def test_a_source_that_fails_half_way_leaves_the_old_file(
    storage: LocalJobStorage,
    stream: Callable[[], ScriptedStream | FailingFile],
    error: type[Exception],
) -> None:
    await storage.save("job", "input/a", b"old")
    before = descriptors()

    with pytest.raises(error):
        await storage.save("job", "input/a", stream())

    assert on_disk(storage) == {"input/a": b"old"}
    assert descriptors() == before


@final
class InterruptedFile:
    """A synchronous stream during which the user hits Ctrl-C after 3 MiB."""

    def __init__(self) -> None:
        self._chunks_left = 3

    def read(self, size: int = -1, /) -> bytes:
        self._chunks_left -= 1
        if self._chunks_left < 0:
            raise KeyboardInterrupt
        return b"n" * size


@pytest.mark.parametrize(
    ("stream", "error"), [(FailingFile, UploadBrokenError), (InterruptedFile, KeyboardInterrupt)]
)
def test_a_synchronous_save_that_fails_or_is_interrupted_leaves_the_old_file(
    storage: LocalJobStorage,
    stream: Callable[[], FailingFile | InterruptedFile],
    error: type[BaseException],
) -> None:
    storage.save_sync("job", "input/a", b"old")
    before = descriptors()

    with pytest.raises(error):
        storage.save_sync("job", "input/a", stream())

    assert on_disk(storage) == {"input/a": b"old"}
    assert descriptors() == before


async def test_a_save_that_cannot_begin_leaves_no_descriptor_open(
    storage: LocalJobStorage,
) -> None:
    storage.create_directory("job")
    await storage.save("job", "input/a", b"old")
    before = descriptors()

    for path in ("input", "input/a/b"):
        for file in (b"new", ScriptedStream(fail)):
            with pytest.raises(InvalidPathError):
                await storage.save("job", path, file)
    with pytest.raises(FileNotFoundError):
        await storage.save("job", "no/such/folder", ScriptedStream(fail), mkdirs=False)

    assert on_disk(storage) == {"input/a": b"old"}
    assert descriptors() == before


async def test_a_save_cancelled_while_it_waits_for_its_stream_leaves_the_old_file(
    storage: LocalJobStorage,
) -> None:
    await storage.save("job", "input/a", b"old")
    waiting = anyio.Event()

    async def wait_for_ever() -> bytes:
        waiting.set()
        await anyio.sleep_forever()
        return b""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(storage.save, "job", "input/a", ScriptedStream(wait_for_ever))
        await waiting.wait()
        assert len(on_disk(storage)) == 2
        tasks.cancel_scope.cancel()

    assert on_disk(storage) == {"input/a": b"old"}


@pytest.mark.parametrize(("anyio_backend", "kind"), CASES)
async def test_a_save_cancelled_at_any_moment_stores_nothing_or_everything(
    storage: LocalJobStorage, source: Path, kind: str
) -> None:
    random, cancelled = Random(), 0
    await storage.save("job", "input/a", source)
    before = descriptors()
    for _ in range(15):
        await storage.save("job", "input/a", b"old")
        async with SOURCES[kind](source) as file:
            with anyio.move_on_after(random.uniform(0, 0.02)) as scope:
                await storage.save("job", "input/a", file)

        content = on_disk(storage)
        assert content in ({"input/a": b"old"}, {"input/a": b"n" * SOURCE_BYTES})
        assert not (scope.cancelled_caught and content != {"input/a": b"old"})
        cancelled += scope.cancelled_caught

    print(f"\n{kind}: {cancelled} of 15 saves cancelled, 0 fragments, 0 temporary files")
    assert descriptors() == before


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", SOURCES)
async def test_a_task_cancelled_by_asyncio_itself_has_stopped_writing_when_it_ends(
    storage: LocalJobStorage, source: Path, kind: str
) -> None:
    random, cancelled = Random(), 0
    for _ in range(15):
        await storage.save("job", "input/a", b"old")
        async with SOURCES[kind](source) as file:
            task = asyncio.create_task(storage.save("job", "input/a", file))
            await asyncio.sleep(random.uniform(0, 0.02))
            task.cancel()
            await asyncio.sleep(0)
            task.cancel("and once more")
            await asyncio.wait([task])

        cancelled += task.cancelled()
        content = on_disk(storage)
        assert content in ({"input/a": b"old"}, {"input/a": b"n" * SOURCE_BYTES})
        await asyncio.sleep(0.005)
        assert on_disk(storage) == content

    print(f"\n{kind}: {cancelled} of 15 tasks cancelled, 0 fragments, 0 temporary files")
    assert cancelled > 0


@final
class CancellingFile:
    """A synchronous stream that cancels its own save, at its third chunk or at its end."""

    def __init__(self, cancel: Callable[[], object], *, at_end: bool) -> None:
        self._cancel, self._at_end = cancel, at_end
        self._give_up_at = time.monotonic() + 20
        self.chunks = 0

    def read(self, size: int = -1, /) -> bytes:
        del size
        self.chunks += 1
        if self.chunks == 3:
            anyio.from_thread.run_sync(self._cancel)
        is_last = self.chunks == 3 and self._at_end
        # A save that cancelling does not stop ends at last, and stores what it must not.
        return b"" if is_last or time.monotonic() > self._give_up_at else b"n"


@pytest.mark.parametrize("at_end", [False, True])
async def test_a_save_cancelled_while_its_thread_works_stops_there_and_stores_nothing(
    storage: LocalJobStorage, *, at_end: bool
) -> None:
    await storage.save("job", "input/a", b"old")
    scope = anyio.CancelScope()
    file = CancellingFile(scope.cancel, at_end=at_end)
    with scope:
        await storage.save("job", "input/a", file)

    assert (scope.cancelled_caught, file.chunks) == (True, 3)
    assert on_disk(storage) == {"input/a": b"old"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_by_asyncio_stops_its_thread_and_stores_nothing(
    storage: LocalJobStorage,
) -> None:
    await storage.save("job", "input/a", b"old")

    async def save() -> None:
        task = asyncio.current_task()
        assert task is not None
        await storage.save("job", "input/a", CancellingFile(task.cancel, at_end=False))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(save())

    assert on_disk(storage) == {"input/a": b"old"}


async def test_a_save_under_a_cancelled_scope_stores_nothing(storage: LocalJobStorage) -> None:
    storage.create_directory("job")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await storage.save("job", "input/a", b"new")

    assert scope.cancelled_caught
    assert on_disk(storage) == {}


async def test_a_save_whose_job_is_removed_meanwhile_says_so_and_stores_nothing(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    async def remove() -> bytes:
        await checkpoint()
        assert storage.remove("job") is True
        return b""

    with pytest.raises(FileNotFoundError, match="the job was removed while 'job/input/a'"):
        await storage.save("job", "input/a", ScriptedStream(remove))

    assert list((tmp_path / "base" / "jobs").iterdir()) == []


async def test_a_second_save_of_the_job_spares_the_first_ones_temporary_file(
    storage: LocalJobStorage,
) -> None:
    async def save_another() -> bytes:
        await storage.save("job", "input/b", b"other")
        return b""

    await storage.save("job", "input/a", ScriptedStream(save_another))

    assert on_disk(storage) == {"input/a": b"n" * 3 * MIB, "input/b": b"other"}


async def test_a_name_like_a_temporary_file_that_nobody_holds_is_swept(
    storage: LocalJobStorage,
) -> None:
    (storage.resolve_path("job") / f"{TEMPORARY_PREFIX}dead").write_bytes(b"fragment")

    await storage.save("job", "input/a", b"new")

    assert on_disk(storage) == {"input/a": b"new"}

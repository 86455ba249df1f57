"""Many at once on the same job: writers, readers, removers, and the event loop itself."""

import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import pytest

from cl_server_shared.files.storage import LocalJobStorage
from tests.support.processes import child
from tests.support.saving_processes import MIB, SOURCES

pytestmark = pytest.mark.anyio

ROUNDS: Final = 300
VERSIONS: Final = (b"a" * 300_000, b"b" * 200_000)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def storage(base: Path) -> LocalJobStorage:
    return LocalJobStorage(base)


def overwrite(base: Path, version: int) -> int:
    """Save one version again and again; return how many records told the truth."""
    content, storage = VERSIONS[version], LocalJobStorage(base)
    expected = (len(content), sha256(content).hexdigest())

    async def save() -> int:
        saved = [await storage.save("job", "input/a", content) for _ in range(ROUNDS)]
        return sum((record.size, record.hash) == expected for record in saved)

    return anyio.run(save)


async def test_a_reader_sees_whole_files_while_two_tasks_overwrite_them(
    storage: LocalJobStorage,
) -> None:
    await storage.save("job", "input/a", VERSIONS[0])
    writers, seen = 2, Counter[bytes]()

    async def write(content: bytes) -> None:
        nonlocal writers
        for _ in range(ROUNDS):
            saved = await storage.save("job", "input/a", content)
            assert (saved.size, saved.hash) == (len(content), sha256(content).hexdigest())
        writers -= 1

    async with anyio.create_task_group() as tasks:
        for content in VERSIONS:
            tasks.start_soon(write, content)
        while writers:
            async with await storage.open("job", "input/a") as file:
                seen[await file.read()] += 1

    print(f"\n{2 * ROUNDS} overwrites, {seen.total()} reads, 0 partial")
    assert set(seen) <= set(VERSIONS)
    assert storage.list_files("job") == ["input/a"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reader_sees_whole_files_while_two_processes_overwrite_them(
    storage: LocalJobStorage, base: Path
) -> None:
    await storage.save("job", "input/a", VERSIONS[0])
    writing, seen = 2, Counter[bytes]()

    async def overwrite_in_a_process(version: int) -> None:
        nonlocal writing
        with child(partial(overwrite, base, version)) as writer:
            assert await anyio.to_thread.run_sync(writer.result) == ROUNDS
        writing -= 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overwrite_in_a_process, 0)
        tasks.start_soon(overwrite_in_a_process, 1)
        while writing:
            async with await storage.open("job", "input/a") as file:
                seen[await file.read()] += 1

    print(f"\n{2 * ROUNDS} overwrites by 2 processes, {seen.total()} reads, 0 partial")
    assert set(seen) == set(VERSIONS)
    left = {path.name for path in (base / "jobs" / "job").iterdir()}
    assert left == {"input", ".cl-checksums"}


@contextmanager
def removing(storage: LocalJobStorage) -> Generator[Counter[bool]]:
    """Remove the job in two threads, over and over; count the answers."""
    stop, answers = threading.Event(), Counter[bool]()

    def remove() -> None:
        while not stop.wait(0.001):
            answers[storage.remove("job")] += 1

    with ThreadPoolExecutor() as threads:
        removers = [threads.submit(remove) for _ in range(2)]
        try:
            yield answers
        finally:
            stop.set()
        for remover in removers:
            remover.result()


async def test_saves_and_removes_at_once_raise_nothing_but_what_is_documented(
    storage: LocalJobStorage, base: Path
) -> None:
    outcomes = Counter[str]()

    async def save(name: str) -> None:
        for _ in range(ROUNDS):
            try:
                await storage.save("job", f"input/{name}", b"x" * 5000)
                outcomes["stored"] += 1
            except FileNotFoundError:
                outcomes["overtaken"] += 1

    with removing(storage) as answers:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(save, "a")
            tasks.start_soon(save, "b")

    print(f"\nsaves {dict(outcomes)}, removes {dict(answers)}, 0 other errors")
    assert outcomes.total() == 2 * ROUNDS
    assert outcomes["stored"] > 0
    assert answers[True] > 0
    storage.remove("job")
    assert list((base / "jobs").iterdir()) == []


async def test_a_thousand_small_saves_at_once_are_all_stored(storage: LocalJobStorage) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(storage.save, "job", f"input/{number}", str(number).encode())

    assert storage.verify("job").is_sound
    for name in storage.list_files("job"):
        assert storage.resolve_path("job", name).read_text() == name.removeprefix("input/")
    assert len(storage.list_files("job")) == 1000


async def test_small_saves_of_which_many_are_cancelled_store_what_they_say(
    storage: LocalJobStorage,
) -> None:
    stored = set[str]()

    async def save(number: int) -> None:
        name = f"input/{number}"
        with anyio.move_on_after(number % 7 * 0.01):
            await storage.save("job", name, b"x")
            stored.add(name)

    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(save, number)

    print(f"\n300 small saves, {len(stored)} stored, the others cancelled")
    assert set(storage.list_files("job")) == stored


async def test_of_many_removes_at_once_one_says_that_it_removed_the_job(
    storage: LocalJobStorage,
) -> None:
    with ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            await storage.save("job", "input/a", b"x")

            answers = list(threads.map(storage.remove, ["job"] * 4))

            assert sorted(answers) == [False, False, False, True]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", SOURCES)
async def test_the_event_loop_goes_on_while_64_mb_are_saved(
    storage: LocalJobStorage, tmp_path: Path, kind: str
) -> None:
    source, blocks_seconds = tmp_path / "source", list[float]()
    source.write_bytes(b"x" * 64 * MIB)

    async def tick() -> None:
        while True:
            begun = time.monotonic()
            await anyio.lowlevel.checkpoint()
            blocks_seconds.append(time.monotonic() - begun)

    async with SOURCES[kind](source) as file, anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await storage.save("job", "input/a", file)
        tasks.cancel_scope.cancel()

    print(f"\n{kind}: the loop stood still for {max(blocks_seconds) * 1000:.1f} ms at most")
    assert storage.size_bytes("job") == 64 * MIB
    assert len(blocks_seconds) > 100

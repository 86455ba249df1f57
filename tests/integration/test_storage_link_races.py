"""Links planted by another process while a call of the storage is under way."""

import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.storage import LocalJobStorage
from tests.support.processes import child
from tests.support.sync_storage import SyncJobStorage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # a race needs a second process

WANTED = 20
READS = 2000


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"the canary's secret")
    return outside


def swap_folder(swapped: Path, target: Path) -> None:
    """Turn a folder into a link to *target* and back, as fast as possible, until killed."""
    aside = swapped.with_name("aside")
    while True:
        with suppress(OSError):
            swapped.rename(aside)
        with suppress(OSError):
            swapped.symlink_to(target)
        with suppress(OSError):
            swapped.unlink()
        shutil.rmtree(aside, ignore_errors=True)


def swap_file(swapped: Path, target: Path) -> None:
    """Put a link to *target* in the place of a file and the file back, until killed."""
    kept, next_one = swapped.with_name("kept"), swapped.with_name("next")
    kept.write_bytes(b"new")
    while True:
        next_one.symlink_to(target)
        next_one.replace(swapped)
        next_one.hardlink_to(kept)
        next_one.replace(swapped)
        next_one.unlink(missing_ok=True)


def seen(folder: Path) -> list[tuple[str, int, bytes]]:
    return [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()]


async def outcome(call: Callable[[], Awaitable[object]]) -> str:
    """Make a call; any other error than the documented ones fails the test."""
    try:
        await call()
    except InvalidPathError:
        return "refused"
    except FileNotFoundError:
        return "overtaken"
    return "done"


async def repeat(call: Callable[[], Awaitable[object]]) -> Counter[str]:
    """Repeat a call until it went well and was refused often enough."""
    counts = Counter[str]()
    with anyio.fail_after(60):
        while min(counts["done"], counts["refused"]) < WANTED or counts.total() < READS:
            counts[await outcome(call)] += 1
    return counts


STORAGES = pytest.mark.parametrize("storage_class", [LocalJobStorage, SyncJobStorage])


@STORAGES
def test_no_file_is_saved_or_measured_through_a_folder_that_becomes_a_link(
    tmp_path: Path, outside: Path, storage_class: type[LocalJobStorage]
) -> None:
    storage, before = storage_class(tmp_path / "base"), seen(outside)
    swapped = storage.allocate_path("job", "d")

    async def save_and_measure() -> None:
        await storage.save("job", "d/canary", b"new")
        # At most the file and the one put aside; the canary is longer.
        assert storage.size_bytes("job") <= 2 * len(b"new")

    with child(partial(swap_folder, swapped, outside)):
        counts = anyio.run(repeat, save_and_measure)

    print(f"\nsaves against a swapping attacker: {dict(counts)}, 0 outside")
    assert seen(outside) == before


@STORAGES
def test_no_file_is_read_through_a_link_that_takes_its_place(
    tmp_path: Path, outside: Path, storage_class: type[LocalJobStorage]
) -> None:
    storage = storage_class(tmp_path / "base")
    swapped = storage.allocate_path("job", "file")

    async def read() -> None:
        async with await storage.open("job", "file") as file:
            assert await file.read() == b"new"

    with child(partial(swap_file, swapped, outside / "canary")):
        wait_until(swapped.exists)
        counts = anyio.run(repeat, read)

    print(f"\nreads against a swapping attacker: {dict(counts)}, 0 outside")
    assert counts.total() >= READS


def test_a_remove_deletes_nothing_through_a_folder_that_becomes_a_link(
    tmp_path: Path, outside: Path
) -> None:
    storage, before = LocalJobStorage(tmp_path / "base"), seen(outside)
    deadline = time.monotonic() + 2

    removed = 0
    with child(partial(swap_folder, storage.allocate_path("job", "d"), outside)):
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError, InvalidPathError):
                storage.allocate_path("job", "d/deep/file").touch()
            removed += storage.remove("job")

    print(f"\n{removed} removes against a swapping attacker, 0 outside")
    assert removed > 0
    assert seen(outside) == before

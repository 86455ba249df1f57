"""The suite of the port on local folders, and where exactly files lie in them."""

import os
import shutil
import stat
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from cl_server_shared.errors import InvalidPathError, InvalidSourceError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import JobStorage
from cl_server_shared.testing import JobStorageConformance
from cl_server_shared.testing.job_files import read

pytestmark = pytest.mark.anyio


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def storage(base: Path) -> JobStorage:
    return LocalJobStorage(base)


class TestLocalJobStorage(JobStorageConformance):
    """In a folder of this machine."""


async def test_files_lie_where_existing_services_look_for_them(
    storage: JobStorage, base: Path
) -> None:
    await storage.save("f0", "output/a.bin", b"a")

    assert (base / "jobs" / "f0" / "output" / "a.bin").read_bytes() == b"a"
    assert [entry.name for entry in (base / "jobs").iterdir()] == ["f0"]


async def test_a_saved_file_has_the_rights_that_the_umask_leaves(
    storage: JobStorage, base: Path
) -> None:
    expected = base.parent / "plain"
    expected.touch()

    await storage.save("job", "input/a", b"x")

    mode = (base / "jobs" / "job" / "input" / "a").stat().st_mode
    assert stat.filemode(mode) == stat.filemode(expected.stat().st_mode)


async def test_only_regular_files_can_be_opened(storage: JobStorage) -> None:
    storage.create_directory("job")
    os.mkfifo(storage.resolve_path("job", "input/pipe"))

    for path in ("input", "input/pipe"):
        with anyio.fail_after(10), pytest.raises(InvalidPathError):
            await storage.open("job", path)


def test_paths_are_where_the_files_lie(storage: JobStorage, base: Path) -> None:
    file = base / "jobs" / "job" / "output" / "deep" / "result.txt"

    assert storage.allocate_path("job", "output/deep/result.txt") == file
    assert storage.resolve_path("job", "output/deep/result.txt") == file
    assert storage.resolve_path("job") == base / "jobs" / "job"


def test_asking_makes_no_folder_of_a_job(storage: JobStorage, base: Path) -> None:
    storage.allocate_path("job", "output/result.txt", mkdirs=False)
    storage.list_files("job")
    storage.size_bytes("job")

    assert list((base / "jobs").iterdir()) == []


async def test_the_base_folder_is_made_and_stays_the_same_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalJobStorage("new/base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    await storage.save("job", "input/a", b"x")

    assert (tmp_path / "new" / "base" / "jobs" / "job" / "input" / "a").read_bytes() == b"x"


async def test_a_storage_whose_folder_was_removed_makes_it_again(
    storage: JobStorage, base: Path
) -> None:
    shutil.rmtree(base)

    assert (storage.remove("job"), storage.list_files("job")) == (False, [])
    assert storage.total_size_bytes() == 0
    await storage.save("job", "input/a", b"x")
    assert storage.list_files("job") == ["input/a"]


async def test_synced_files_are_stored_like_others(base: Path) -> None:
    storage = LocalJobStorage(base, fsync=True)
    for content in (b"x", b"y", os.urandom(3_000_000), os.urandom(2_000_000)):
        saved = await storage.save("job", "input/a", content)

        assert (saved.size, saved.hash) == (len(content), sha256(content).hexdigest())
        assert await read(storage, "job", "input/a") == content


async def test_a_pipe_is_refused_as_a_source_and_nothing_is_made(
    storage: JobStorage, base: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidSourceError):
        await storage.save("job", "input/a", tmp_path / "pipe")

    assert list((base / "jobs").iterdir()) == []

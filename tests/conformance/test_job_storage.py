"""What every job storage does, on asyncio, on trio and without an event loop."""

import io
import os
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import anyio
import pytest

from cl_server_shared.errors import ClServerError, ConfigError, InvalidPathError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.models import SavedJobFile
from cl_server_shared.protocols.files import JobStorage
from tests.support.sync_storage import SyncJobStorage

pytestmark = pytest.mark.anyio


NOT_TEXT: Final = (None, 5, b"job", Path("job"), ["job"], object())


class _StorageRequest(Protocol):
    """A request for one of the classes of storage."""

    @property
    def param(self) -> type[LocalJobStorage]: ...


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture(params=[LocalJobStorage, SyncJobStorage])
def storage_class(request: _StorageRequest) -> type[LocalJobStorage]:
    """Asynchronous and synchronous calls, one after the other."""
    return request.param


@pytest.fixture
def storage(storage_class: type[LocalJobStorage], base: Path) -> JobStorage:
    return storage_class(base)


async def read(storage: JobStorage, job_id: str, relative_path: str) -> bytes:
    async with await storage.open(job_id, relative_path) as file:
        return await file.read()


async def test_what_was_saved_can_be_read_and_its_record_tells_the_truth(
    storage: JobStorage,
) -> None:
    saved = await storage.save("job-123", "input/test.txt", b"Hello, World!")

    assert await read(storage, "job-123", "input/test.txt") == b"Hello, World!"
    assert saved == SavedJobFile(
        relative_path="input/test.txt", size=13, hash=sha256(b"Hello, World!").hexdigest()
    )


async def test_files_lie_where_existing_services_look_for_them(
    storage: JobStorage, base: Path
) -> None:
    await storage.save("f0", "output/a.bin", b"a")

    assert (base / "jobs" / "f0" / "output" / "a.bin").read_bytes() == b"a"
    assert [entry.name for entry in (base / "jobs").iterdir()] == ["f0"]


@pytest.mark.parametrize(
    "path", ["a", "deep/er/and/deeper/file", "input/mein Foto (1) 写真.jpg", ".hidden/ x"]
)
async def test_the_given_path_comes_back_unchanged(storage: JobStorage, path: str) -> None:
    saved = await storage.save("job", path, b"x")

    assert saved.relative_path == path
    assert storage.list_files("job") == [path]
    assert await read(storage, "job", path) == b"x"


async def test_saving_again_replaces_the_whole_file(storage: JobStorage) -> None:
    await storage.save("job", "input/a", b"long old content")

    saved = await storage.save("job", "input/a", b"new")

    assert (saved.size, await read(storage, "job", "input/a")) == (3, b"new")
    assert storage.list_files("job") == ["input/a"]


async def test_without_mkdirs_a_missing_folder_is_an_error_and_stays_missing(
    storage: JobStorage, base: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="mkdirs"):
        await storage.save("job", "input/a", b"x", mkdirs=False)
    assert not (base / "jobs" / "job").exists()

    storage.create_directory("job")
    await storage.save("job", "input/a", b"x", mkdirs=False)
    with pytest.raises(FileNotFoundError, match="mkdirs"):
        await storage.save("job", "input/deeper/a", b"x", mkdirs=False)

    assert storage.list_files("job") == ["input/a"]


async def test_a_file_cannot_be_saved_over_a_folder_or_below_a_file(storage: JobStorage) -> None:
    await storage.save("job", "input/a", b"old")

    for path in ("input", "input/a/b"):
        with pytest.raises(InvalidPathError):
            await storage.save("job", path, b"x")

    assert await read(storage, "job", "input/a") == b"old"
    assert storage.list_files("job") == ["input/a"]


async def test_a_saved_file_has_the_rights_that_the_umask_leaves(
    storage: JobStorage, base: Path
) -> None:
    expected = base.parent / "plain"
    expected.touch()

    await storage.save("job", "input/a", b"x")

    mode = (base / "jobs" / "job" / "input" / "a").stat().st_mode
    assert stat.filemode(mode) == stat.filemode(expected.stat().st_mode)


async def test_an_open_file_can_be_read_in_pieces_line_by_line_and_closed(
    storage: JobStorage,
) -> None:
    await storage.save("job", "input/a", b"one\ntwo\nthree")

    async with await storage.open("job", "input/a") as file:
        pieces = [await file.read(2), await file.read(), await file.read()]
    again = await storage.open("job", "input/a")
    lines = [line async for line in again]
    await again.aclose()

    assert pieces == [b"on", b"e\ntwo\nthree", b""]
    assert lines == [b"one\n", b"two\n", b"three"]


async def test_opening_what_is_not_there_is_file_not_found_and_makes_nothing(
    storage: JobStorage, base: Path
) -> None:
    storage.create_directory("job")
    for job_id, path in (("job", "input/a"), ("job", "no/such/folder"), ("unknown", "input/a")):
        with pytest.raises(FileNotFoundError, match=path):
            await storage.open(job_id, path)

    assert [entry.name for entry in (base / "jobs").iterdir()] == ["job"]


async def test_only_regular_files_can_be_opened(storage: JobStorage) -> None:
    storage.create_directory("job")
    os.mkfifo(storage.resolve_path("job", "input/pipe"))

    for path in ("input", "input/pipe"):
        with anyio.fail_after(10), pytest.raises(InvalidPathError):
            await storage.open("job", path)


async def test_a_reader_keeps_the_file_that_it_opened(storage: JobStorage) -> None:
    await storage.save("job", "input/a", b"old")
    async with await storage.open("job", "input/a") as file:
        await storage.save("job", "input/a", b"new")
        storage.remove("job")

        assert await file.read() == b"old"


def test_create_directory_makes_input_and_output_and_may_be_repeated(
    storage: JobStorage, base: Path
) -> None:
    storage.create_directory("job")
    kept = storage.allocate_path("job", "input/kept")
    kept.touch()
    storage.create_directory("job")

    assert sorted(p.name for p in (base / "jobs" / "job").iterdir()) == ["input", "output"]
    assert kept.exists()


async def test_remove_takes_one_job_and_tells_whether_it_was_there(storage: JobStorage) -> None:
    await storage.save("job", "input/deep/er/a", b"x")
    await storage.save("job", "output/b", b"x")
    await storage.save("job2", "input/a", b"x")

    assert storage.remove("job") is True
    assert storage.remove("job") is False
    assert storage.list_files("job") == []
    assert storage.list_files("job2") == ["input/a"]


async def test_a_removed_job_can_be_used_again(storage: JobStorage) -> None:
    await storage.save("job", "input/a", b"old")
    storage.remove("job")

    await storage.save("job", "input/b", b"new")

    assert storage.list_files("job") == ["input/b"]


def test_allocated_paths_are_absolute_and_can_be_written_at_once(
    storage: JobStorage, base: Path
) -> None:
    path = storage.allocate_path("job", "output/deep/result.txt")
    path.write_text("done")

    assert path == base / "jobs" / "job" / "output" / "deep" / "result.txt"
    assert storage.list_files("job") == ["output/deep/result.txt"]


def test_allocating_without_mkdirs_makes_nothing(storage: JobStorage, base: Path) -> None:
    path = storage.allocate_path("job", "output/result.txt", mkdirs=False)

    assert path == base / "jobs" / "job" / "output" / "result.txt"
    assert list((base / "jobs").iterdir()) == []


def test_resolved_paths_have_their_parents(storage: JobStorage, base: Path) -> None:
    job = storage.resolve_path("job")
    file = storage.resolve_path("job", "output/deep/a")
    (job / "a").touch()
    file.touch()

    assert (job, file) == (base / "jobs" / "job", base / "jobs" / "job" / "output" / "deep" / "a")
    assert storage.list_files("job") == ["a", "output/deep/a"]
    assert storage.resolve_path("job", "output").is_dir()


async def test_files_are_listed_and_measured(storage: JobStorage) -> None:
    await storage.save("job", "output/b", b"22")
    await storage.save("job", "input/a", b"1")
    await storage.save("job", "z", b"333")
    await storage.save("other", "input/a", b"4444")

    assert storage.list_files("job") == ["input/a", "output/b", "z"]
    assert (storage.size_bytes("job"), storage.size_bytes("other")) == (6, 4)
    assert storage.total_size_bytes() == 10


def test_an_unknown_job_has_no_files_and_no_size(storage: JobStorage, base: Path) -> None:
    assert (storage.list_files("job"), storage.size_bytes("job")) == ([], 0)
    assert storage.total_size_bytes() == 0
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


async def test_synced_files_are_stored_like_others(
    storage_class: type[LocalJobStorage], base: Path
) -> None:
    storage = storage_class(base, fsync=True)

    await storage.save("job", "input/deep/a", b"x")
    await storage.save("job", "input/deep/a", b"y")

    assert await read(storage, "job", "input/deep/a") == b"y"


@pytest.mark.parametrize("fsync", [False, True])
async def test_large_files_on_their_way_to_the_disk_are_stored_like_others(
    storage_class: type[LocalJobStorage], base: Path, *, fsync: bool
) -> None:
    storage = storage_class(base, fsync=fsync)
    for content in (os.urandom(3_000_000), os.urandom(2_000_000)):
        saved = await storage.save("job", "input/a", content)

        assert (saved.size, saved.hash) == (len(content), sha256(content).hexdigest())
        assert await read(storage, "job", "input/a") == content


async def test_sources_that_are_no_bytes_are_refused_and_nothing_is_made(
    storage: JobStorage, base: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("text")
    os.mkfifo(tmp_path / "pipe")
    sources = [io.StringIO("text"), None, 5, ["a"], tmp_path / "pipe"]

    with text.open() as file:
        async with await anyio.open_file(text) as stream:
            for source in (*sources, file, stream):
                with pytest.raises(TypeError) as caught:
                    await storage.save("job", "input/a", source)  # pyright: ignore[reportArgumentType]  wrong on purpose
                assert isinstance(caught.value, ClServerError)

    assert list((base / "jobs").iterdir()) == []


@pytest.mark.parametrize("value", NOT_TEXT)
async def test_a_job_id_or_path_of_another_type_is_refused_by_its_name(
    storage: JobStorage, base: Path, value: str
) -> None:
    by_job = (
        storage.create_directory,
        storage.remove,
        storage.resolve_path,
        storage.list_files,
        storage.size_bytes,
        storage.verify,
    )
    for call in by_job:
        with pytest.raises(InvalidPathError, match=_wanted("job_id", value)):
            call(value)
    for pair, argument in (((value, "input/a"), "job_id"), (("job", value), "relative_path")):
        with pytest.raises(InvalidPathError, match=_wanted(argument, value)):
            storage.allocate_path(*pair)
        with pytest.raises(InvalidPathError, match=_wanted(argument, value)):
            await storage.open(*pair)
        with pytest.raises(InvalidPathError, match=_wanted(argument, value)):
            await storage.save(*pair, b"x")

    assert list((base / "jobs").iterdir()) == []


def _wanted(argument: str, value: object) -> str:
    return f"^{argument} .* is a {type(value).__name__}: give a str$"


@pytest.mark.parametrize("value", [None, 5, b"/data", ["/data"]])
def test_a_base_folder_of_another_type_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(ConfigError, match=f"^base_dir .* is a {type(value).__name__}: give the"):
        LocalJobStorage(value)

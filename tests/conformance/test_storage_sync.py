"""What every job storage does for a worker without an event loop: `save_sync` and `open_sync`."""

import io
import os
import tempfile
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, final

import aiofiles
import anyio
import pytest
from starlette.datastructures import UploadFile

from cl_server_shared.errors import InvalidPathError, InvalidSourceError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.models import SavedJobFile
from cl_server_shared.protocols.files import BlockingFileLike, FileLike, JobStorage

if TYPE_CHECKING:
    from types import CoroutineType

MIB: Final = 1024 * 1024
SIZES: Final = (0, 1, MIB, 2 * MIB + 12_345)


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return LocalJobStorage(tmp_path / "base")


def read(storage: JobStorage, job_id: str, relative_path: str) -> bytes:
    with storage.open_sync(job_id, relative_path) as file:
        return file.read()


def test_what_was_saved_can_be_read_and_its_record_tells_the_truth(storage: JobStorage) -> None:
    saved = storage.save_sync("job-123", "input/test.txt", b"Hello, World!")

    assert read(storage, "job-123", "input/test.txt") == b"Hello, World!"
    assert saved == SavedJobFile(
        relative_path="input/test.txt", size=13, hash=sha256(b"Hello, World!").hexdigest()
    )
    assert storage.verify("job-123").is_sound


async def save_then_open(storage: JobStorage) -> SavedJobFile:
    saved = await storage.save("job", "input/a", b"asynchronous")
    async with await storage.open("job", "input/b") as file:
        assert await file.read() == b"synchronous"
    return saved


def test_both_kinds_of_call_see_the_same_files(storage: JobStorage) -> None:
    storage.save_sync("job", "input/b", b"synchronous")
    saved = anyio.run(save_then_open, storage)

    assert read(storage, "job", "input/a") == b"asynchronous"
    assert storage.save_sync("job", "input/a", b"asynchronous") == saved


@pytest.mark.parametrize("fsync", [False, True])
def test_saving_again_replaces_the_whole_file(tmp_path: Path, *, fsync: bool) -> None:
    storage = LocalJobStorage(tmp_path, fsync=fsync)
    for content in (b"long old content", os.urandom(3_000_000), os.urandom(2_000_000), b"new"):
        saved = storage.save_sync("job", "input/a", content)

        assert (saved.size, saved.hash) == (len(content), sha256(content).hexdigest())
        assert read(storage, "job", "input/a") == content
        assert storage.list_files("job") == ["input/a"]


def test_without_mkdirs_a_missing_folder_is_an_error_and_stays_missing(storage: JobStorage) -> None:
    with pytest.raises(FileNotFoundError, match="mkdirs"):
        storage.save_sync("job", "input/a", b"x", mkdirs=False)
    assert storage.remove("job") is False

    storage.create_directory("job")
    storage.save_sync("job", "input/a", b"x", mkdirs=False)
    with pytest.raises(FileNotFoundError, match="mkdirs"):
        storage.save_sync("job", "input/deeper/a", b"x", mkdirs=False)

    assert storage.list_files("job") == ["input/a"]


def test_a_file_cannot_be_saved_over_a_folder_or_below_a_file(storage: JobStorage) -> None:
    storage.save_sync("job", "input/a", b"old")

    for path in ("input", "input/a/b"):
        with pytest.raises(InvalidPathError):
            storage.save_sync("job", path, b"x")

    assert read(storage, "job", "input/a") == b"old"
    assert storage.list_files("job") == ["input/a"]


def test_an_open_file_can_be_read_in_pieces_and_line_by_line(storage: JobStorage) -> None:
    storage.save_sync("job", "input/a", b"one\ntwo\nthree")

    with storage.open_sync("job", "input/a") as file:
        pieces = [file.read(2), file.read(), file.read()]
    with storage.open_sync("job", "input/a") as file:
        lines = list(file)

    assert pieces == [b"on", b"e\ntwo\nthree", b""]
    assert lines == [b"one\n", b"two\n", b"three"]


def test_opening_what_is_not_there_is_file_not_found_and_makes_nothing(storage: JobStorage) -> None:
    storage.create_directory("job")
    for job_id, path in (("job", "input/a"), ("job", "no/such/folder"), ("new", "input/a")):
        with pytest.raises(FileNotFoundError, match=path):
            storage.open_sync(job_id, path)

    assert storage.remove("new") is False


def test_only_regular_files_can_be_opened(storage: JobStorage) -> None:
    storage.create_directory("job")
    os.mkfifo(storage.resolve_path("job", "input/pipe"))

    for path in ("input", "input/pipe"):
        with pytest.raises(InvalidPathError):
            storage.open_sync("job", path)


def test_a_reader_keeps_the_file_that_it_opened(storage: JobStorage) -> None:
    storage.save_sync("job", "input/a", b"old")
    with storage.open_sync("job", "input/a") as file:
        storage.save_sync("job", "input/a", b"new")
        storage.remove("job")

        assert file.read() == b"old"


@final
class PlainReader:
    """A synchronous stream that inherits from nothing, and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(min(size, 100_000))


@contextmanager
def named_temporary(path: Path) -> Generator[BlockingFileLike]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(path.read_bytes())
        file.seek(0)
        yield file


def given(make: Callable[[Path], BlockingFileLike]) -> "BlockingOpener":
    @contextmanager
    def opener(path: Path) -> Generator[BlockingFileLike]:
        yield make(path)

    return opener


type BlockingOpener = Callable[[Path], AbstractContextManager[BlockingFileLike]]
BLOCKING: Final[dict[str, BlockingOpener]] = {
    "bytes": given(Path.read_bytes),
    "bytearray": given(lambda path: bytearray(path.read_bytes())),
    "memoryview": given(lambda path: memoryview(path.read_bytes())),
    "str path": given(str),
    "Path": given(lambda path: path),
    "BytesIO": given(lambda path: io.BytesIO(path.read_bytes())),
    "open file": lambda path: path.open("rb"),
    "NamedTemporaryFile": named_temporary,
    "plain reader": given(lambda path: PlainReader(path.read_bytes())),
}


@pytest.mark.parametrize("kind", BLOCKING)
def test_bytes_size_and_hash_are_those_of_the_source(
    storage: JobStorage, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "source"
    for size_bytes in SIZES:
        data = Random(size_bytes).randbytes(size_bytes)
        path.write_bytes(data)
        with BLOCKING[kind](path) as source:
            saved = storage.save_sync("job", "input/a", source)

        assert storage.resolve_path("job", "input/a").read_bytes() == data
        assert (saved.size, saved.hash) == (size_bytes, sha256(data).hexdigest())
        assert storage.list_files("job") == ["input/a"]


@pytest.mark.parametrize("kind", ["str path", "open file"])
def test_memory_stays_flat_however_large_the_source(
    storage: JobStorage, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(32 * MIB))
    with BLOCKING[kind](path) as source:
        tracemalloc.start()
        try:
            storage.save_sync("job", "input/a", source)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 8 * MIB


def test_a_stream_is_saved_from_where_it_stands(storage: JobStorage) -> None:
    source = io.BytesIO(b"headbody")
    source.seek(4)

    storage.save_sync("job", "input/a", source)

    assert read(storage, "job", "input/a") == b"body"


@final
class DelegatingStream:
    """A stream whose `read` is no coroutine function, but gives something to await."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, size: int = -1, /) -> "CoroutineType[None, None, bytes]":
        return self._read(size)

    async def _read(self, size: int) -> bytes:
        raise NotImplementedError(size, self._path)


@asynccontextmanager
async def upload(path: Path) -> AsyncGenerator[FileLike]:
    with path.open("rb") as file:
        yield UploadFile(file)


@asynccontextmanager
async def awaitable(path: Path) -> AsyncGenerator[FileLike]:
    yield DelegatingStream(path)


ASYNCHRONOUS: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[object]]]] = {
    "aiofiles": lambda path: aiofiles.open(path, "rb"),
    "UploadFile": upload,
    "awaitable": awaitable,
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ASYNCHRONOUS)
async def test_an_asynchronous_stream_is_refused_with_the_way_to_save_it(
    storage: JobStorage, tmp_path: Path, kind: str
) -> None:
    await anyio.Path(tmp_path / "source").write_bytes(b"content")
    async with ASYNCHRONOUS[kind](tmp_path / "source") as stream:
        with pytest.raises(InvalidSourceError, match="use 'await save"):
            storage.save_sync("job", "input/a", stream)  # pyright: ignore[reportArgumentType]  wrong on purpose

    assert storage.remove("job") is False

"""Every kind of source that can be saved: real files and real streams, with and without a loop."""

import io
import tempfile
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, BinaryIO, Final, cast, final

import aiofiles
import anyio
import pytest
from starlette.datastructures import UploadFile

from cl_server_shared.errors import InvalidSourceError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import FileLike, JobStorage
from tests.support.sync_storage import SyncJobStorage

if TYPE_CHECKING:
    from types import CoroutineType

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SIZES = (0, 1, MIB, 2 * MIB + 12_345)
BOTH = ("asyncio", "trio")

type Opener = Callable[[Path], AbstractAsyncContextManager[FileLike]]


@final
class TrickleStream:
    """An asynchronous stream that gives at most 1,000 bytes, whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    async def read(self, size: int = -1, /) -> bytes:
        del size
        await anyio.lowlevel.checkpoint()
        chunk, self._rest = self._rest[:1000], self._rest[1000:]
        return chunk


@final
class DelegatingStream:
    """A stream whose `read` is no coroutine function, but gives something to await."""

    def __init__(self, data: bytes) -> None:
        self._stream = TrickleStream(data)

    def read(self, size: int = -1, /) -> "CoroutineType[None, None, bytes]":
        return self._stream.read(size)


@final
class ReusingStream:
    """An asynchronous stream that gives the same buffer again and again."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._buffer = bytearray()

    async def read(self, size: int = -1, /) -> bytes:
        await anyio.lowlevel.checkpoint()
        self._buffer[:] = self._stream.read(min(size, 100_000))
        return self._buffer  # pyright: ignore[reportReturnType]  what some streams do


@final
class PlainReader:
    """A synchronous stream that inherits from nothing."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)


@final
class PathOfFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def content(path: Path) -> bytes:
    return path.read_bytes()


def given(make: Callable[[Path], FileLike]) -> Opener:
    @asynccontextmanager
    async def opener(path: Path) -> AsyncGenerator[FileLike]:
        yield make(path)

    return opener


@asynccontextmanager
async def open_binary(path: Path) -> AsyncGenerator[FileLike]:
    with path.open("rb") as file:
        yield file


@asynccontextmanager
async def named_temporary(path: Path) -> AsyncGenerator[FileLike]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content(path))
        file.seek(0)
        yield file


@asynccontextmanager
async def upload(path: Path) -> AsyncGenerator[FileLike]:
    with tempfile.SpooledTemporaryFile(max_size=MIB) as spool:
        # Starlette builds it of the same class; the stubs of tempfile do not call it BinaryIO.
        file = UploadFile(cast("BinaryIO", spool), filename="../../evil.jpg")  # pyright: ignore[reportInvalidCast]
        await file.write(content(path))
        await file.seek(0)
        yield file


@asynccontextmanager
async def aiofile(path: Path) -> AsyncGenerator[FileLike]:
    async with aiofiles.open(path, "rb") as file:
        yield file


@asynccontextmanager
async def anyio_file(path: Path) -> AsyncGenerator[FileLike]:
    async with await anyio.open_file(path, "rb") as file:
        yield file


OPENERS: dict[str, Opener] = {
    "bytes": given(content),
    "bytearray": given(lambda path: bytearray(content(path))),
    "memoryview": given(lambda path: memoryview(content(path))),
    "memoryview of every other byte": given(
        lambda path: memoryview(b"".join(bytes((b, 0)) for b in content(path)))[::2]
    ),
    "str path": given(str),
    "Path": given(lambda path: path),
    "PathLike": given(PathOfFile),
    "BytesIO": given(lambda path: io.BytesIO(content(path))),
    "open file": open_binary,
    "NamedTemporaryFile": named_temporary,
    "plain reader": given(lambda path: PlainReader(content(path))),
    "anyio": anyio_file,
    "UploadFile": upload,
    "trickle": given(lambda path: TrickleStream(content(path))),
    "reused buffer": given(lambda path: ReusingStream(content(path))),
    "awaitable": given(lambda path: DelegatingStream(content(path))),
}
ASYNCHRONOUS: Final = ("aiofiles", "anyio", "UploadFile", "trickle", "reused buffer", "awaitable")
BLOCKING: Final = tuple(OPENERS.keys() - set(ASYNCHRONOUS))
# aiofiles needs asyncio's executor.
CASES = [
    *(pytest.param(backend, name, id=f"{backend}-{name}") for name in OPENERS for backend in BOTH),
    pytest.param("asyncio", "aiofiles", id="asyncio-aiofiles"),
]
OPENERS["aiofiles"] = aiofile


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return LocalJobStorage(tmp_path / "base")


def written(path: Path, size_bytes: int) -> bytes:
    data = Random(size_bytes).randbytes(size_bytes)
    path.write_bytes(data)
    return data


@pytest.mark.parametrize(("anyio_backend", "kind"), CASES)
async def test_bytes_size_and_hash_are_those_of_the_source(
    storage: JobStorage, tmp_path: Path, kind: str
) -> None:
    await check_what_is_stored(storage, tmp_path / "source", OPENERS[kind])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", BLOCKING)
async def test_bytes_size_and_hash_of_a_blocking_source_are_the_same_without_a_loop(
    tmp_path: Path, kind: str
) -> None:
    await check_what_is_stored(
        SyncJobStorage(tmp_path / "base"), tmp_path / "source", OPENERS[kind]
    )


async def check_what_is_stored(storage: JobStorage, path: Path, opener: Opener) -> None:
    for size_bytes in SIZES:
        data = written(path, size_bytes)
        async with opener(path) as source:
            saved = await storage.save("job", "input/a", source)

        assert storage.resolve_path("job", "input/a").read_bytes() == data
        assert (saved.size, saved.hash) == (size_bytes, sha256(data).hexdigest())
        assert storage.list_files("job") == ["input/a"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ASYNCHRONOUS)
async def test_without_a_loop_an_asynchronous_stream_is_refused_and_told_of_save(
    tmp_path: Path, kind: str
) -> None:
    storage = SyncJobStorage(tmp_path / "base")
    written(tmp_path / "source", MIB)
    async with OPENERS[kind](tmp_path / "source") as source:
        with pytest.raises(InvalidSourceError, match="use 'await save"):
            await storage.save("job", "input/a", source)
        # It was not read: it can still be saved as it should be.
        saved = await LocalJobStorage(tmp_path / "base").save("job", "input/a", source)

    assert saved.size == MIB


async def test_a_stream_is_saved_from_where_it_stands(storage: JobStorage) -> None:
    source = io.BytesIO(b"headbody")
    source.seek(4)

    await storage.save("job", "input/a", source)

    assert storage.resolve_path("job", "input/a").read_bytes() == b"body"


async def test_a_file_can_be_saved_over_itself(storage: JobStorage) -> None:
    await storage.save("job", "input/a", b"content")
    path = storage.resolve_path("job", "input/a")

    await storage.save("job", "input/a", path)
    with path.open("rb") as file:
        await storage.save("job", "input/a", file)

    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("storage_class", [LocalJobStorage, SyncJobStorage])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "file None is a NoneType: give bytes"),
        (5, "file 5 is a int: give bytes"),
        (io.BytesIO, "is a type: give bytes"),
        ("in\0side", "is no path of a file .*null"),
        ("half \ud800 a pair", "is no path of a file"),
    ],
)
async def test_a_source_of_another_type_is_refused_by_its_name(
    storage_class: type[LocalJobStorage], tmp_path: Path, source: str, said: str
) -> None:
    with pytest.raises(InvalidSourceError, match=said):
        await storage_class(tmp_path).save("job", "input/a", source)

    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize("storage_class", [LocalJobStorage, SyncJobStorage])
async def test_a_closed_file_is_refused(
    storage_class: type[LocalJobStorage], tmp_path: Path
) -> None:
    source = io.BytesIO(b"content")
    source.close()

    with pytest.raises(InvalidSourceError, match="is closed: give bytes"):
        await storage_class(tmp_path).save("job", "input/a", source)


async def test_a_source_path_that_is_absent_or_a_folder_leaves_no_trace(
    storage: JobStorage, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        await storage.save("job", "input/a", tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        await storage.save("job", "input/a", str(tmp_path))

    assert list((tmp_path / "base" / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("storage_class", "kind"),
    [
        *((LocalJobStorage, kind) for kind in ("str path", "open file", "anyio", "UploadFile")),
        *((SyncJobStorage, kind) for kind in ("str path", "open file", "plain reader")),
    ],
)
async def test_memory_stays_flat_however_large_the_source(
    storage_class: type[LocalJobStorage], tmp_path: Path, kind: str
) -> None:
    storage, path = storage_class(tmp_path / "base"), tmp_path / "source"
    written(path, 32 * MIB)
    async with OPENERS[kind](path) as source:
        tracemalloc.start()
        try:
            await storage.save("job", "input/a", source)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 8 * MIB

"""Every kind of source that `save` accepts; part of `JobStorageConformance`."""

import io
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import ClassVar, cast

import aiofiles
import anyio
import pytest

from cl_server_shared.errors import InvalidSourceError
from cl_server_shared.protocols.files import BlockingFileLike, FileLike, JobStorage
from cl_server_shared.testing.streams import (
    DelegatingStream,
    PlainReader,
    ReusingStream,
    TrickleStream,
)

_MIB = 1024 * 1024
_SIZES = (0, 1, _MIB, 2 * _MIB + 12_345)

type Opener = Callable[[Path], AbstractAsyncContextManager[FileLike]]
"""Makes a source of the content of a file."""


def made_by(make: Callable[[Path], FileLike]) -> Opener:
    """Return an opener of what *make* returns."""

    @asynccontextmanager
    async def opener(path: Path) -> AsyncGenerator[FileLike]:
        yield make(path)

    return opener


def made_of(make: Callable[[bytes], FileLike]) -> Opener:
    """Return an opener of what *make* returns for the content."""
    return made_by(lambda path: make(path.read_bytes()))


@asynccontextmanager
async def _open_binary(path: Path) -> AsyncGenerator[FileLike]:
    with path.open("rb") as file:
        yield file


@asynccontextmanager
async def _named_temporary(path: Path) -> AsyncGenerator[FileLike]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(await anyio.Path(path).read_bytes())
        file.seek(0)
        yield file


@asynccontextmanager
async def _aiofiles(path: Path) -> AsyncGenerator[FileLike]:
    async with aiofiles.open(path, "rb") as file:
        yield file


@asynccontextmanager
async def _anyio(path: Path) -> AsyncGenerator[FileLike]:
    async with await anyio.open_file(path, "rb") as file:
        yield file


def _every_other_byte(content: bytes) -> memoryview:
    spread = bytearray(2 * len(content))
    spread[::2] = content
    return memoryview(spread)[::2]


BLOCKING: dict[str, Opener] = {
    "bytes": made_of(bytes),
    "bytearray": made_of(bytearray),
    "memoryview": made_of(memoryview),
    "memoryview of every other byte": made_of(_every_other_byte),
    "str path": made_by(str),
    "Path": made_by(Path),
    "BytesIO": made_of(io.BytesIO),
    "open file": _open_binary,
    "NamedTemporaryFile": _named_temporary,
    "plain reader": made_of(PlainReader),
}
ASYNCHRONOUS: dict[str, Opener] = {
    "anyio": _anyio,
    "trickle": made_of(TrickleStream),
    "reused buffer": made_of(ReusingStream),
    "awaitable": made_of(DelegatingStream),
}
_OPENERS = {**BLOCKING, **ASYNCHRONOUS}


class JobSourcesConformance:
    """Real files and real streams, large and empty."""

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    @pytest.mark.parametrize("kind", _OPENERS)
    async def test_bytes_size_and_hash_are_those_of_the_source(
        self, storage: JobStorage, tmp_path: Path, kind: str
    ) -> None:
        await check_source(storage, _OPENERS[kind], tmp_path / "source")

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])  # aiofiles needs its executor
    async def test_bytes_size_and_hash_are_those_of_a_file_of_aiofiles(
        self, storage: JobStorage, tmp_path: Path
    ) -> None:
        await check_source(storage, _aiofiles, tmp_path / "source")

    @pytest.mark.parametrize("kind", BLOCKING)
    async def test_a_blocking_source_is_saved_alike_without_a_loop(
        self, storage: JobStorage, tmp_path: Path, kind: str
    ) -> None:
        data = await _written(tmp_path / "source", 2 * _MIB + 1)
        async with BLOCKING[kind](tmp_path / "source") as source:
            # Each opener of this table gives a blocking source.
            saved = storage.save_sync("job", "input/a", cast("BlockingFileLike", source))
        with storage.open_sync("job", "input/a") as stored:
            content = stored.read()

        assert content == data
        assert (saved.size, saved.hash) == (len(data), sha256(data).hexdigest())

    @pytest.mark.parametrize("kind", ASYNCHRONOUS)
    async def test_without_a_loop_an_asynchronous_stream_is_refused_and_not_read(
        self, storage: JobStorage, tmp_path: Path, kind: str
    ) -> None:
        data = await _written(tmp_path / "source", _MIB)
        async with ASYNCHRONOUS[kind](tmp_path / "source") as source:
            with pytest.raises(InvalidSourceError):
                storage.save_sync("job", "input/a", cast("BlockingFileLike", source))
            saved = await storage.save("job", "input/a", source)

        assert saved.size == len(data)

    async def test_a_stream_is_saved_from_where_it_stands(self, storage: JobStorage) -> None:
        source = io.BytesIO(b"headbody")
        source.seek(4)

        await storage.save("job", "input/a", source)

        assert storage.resolve_path("job", "input/a").read_bytes() == b"body"

    async def test_a_file_can_be_saved_over_itself(self, storage: JobStorage) -> None:
        await storage.save("job", "input/a", b"content")
        path = storage.resolve_path("job", "input/a")

        await storage.save("job", "input/a", path)
        with path.open("rb") as file:
            await storage.save("job", "input/a", file)

        assert path.read_bytes() == b"content"

    async def test_a_source_path_that_is_absent_or_a_folder_leaves_no_trace(
        self, storage: JobStorage, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError, match="absent"):
            await storage.save("job", "input/a", tmp_path / "absent")
        with pytest.raises(IsADirectoryError):
            await storage.save("job", "input/a", str(tmp_path))

        assert storage.remove("job") is False


async def check_source(storage: JobStorage, opener: Opener, path: Path) -> None:
    """Save sources of several sizes, and compare what is stored and told with what was given.

    Raises:
        AssertionError: something else was.
    """
    for size_bytes in _SIZES:
        data = await _written(path, size_bytes)
        async with opener(path) as source:
            saved = await storage.save("job", "input/a", source)

        assert storage.resolve_path("job", "input/a").read_bytes() == data
        assert (saved.size, saved.hash) == (size_bytes, sha256(data).hexdigest())
        assert storage.list_files("job") == ["input/a"]


async def _written(path: Path, size_bytes: int) -> bytes:
    data = Random(size_bytes).randbytes(size_bytes)  # noqa: S311  # content, not a secret
    await anyio.Path(path).write_bytes(data)
    return data

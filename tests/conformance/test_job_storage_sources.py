"""Sources that are other libraries' own, and how much memory a large one takes."""

import tempfile
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import BinaryIO, cast, final

import anyio
import pytest
from starlette.datastructures import UploadFile

from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import FileLike, JobStorage
from cl_server_shared.testing.job_sources import check_source, made_by

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@final
class PathOfFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@asynccontextmanager
async def upload(path: Path) -> AsyncGenerator[FileLike]:
    with tempfile.SpooledTemporaryFile(max_size=MIB) as spool:
        # Starlette builds it of the same class; the stubs of tempfile do not call it BinaryIO.
        file = UploadFile(cast("BinaryIO", spool), filename="../../evil.jpg")  # pyright: ignore[reportInvalidCast]
        await file.write(await anyio.Path(path).read_bytes())
        await file.seek(0)
        yield file


@asynccontextmanager
async def open_binary(path: Path) -> AsyncGenerator[FileLike]:
    with path.open("rb") as file:
        yield file


@asynccontextmanager
async def anyio_file(path: Path) -> AsyncGenerator[FileLike]:
    async with await anyio.open_file(path, "rb") as file:
        yield file


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return LocalJobStorage(tmp_path / "base")


async def test_an_upload_of_starlette_is_stored_under_our_name(
    storage: JobStorage, tmp_path: Path
) -> None:
    await check_source(storage, upload, tmp_path / "source")


async def test_any_object_that_is_a_path_is_taken_as_one(
    storage: JobStorage, tmp_path: Path
) -> None:
    await check_source(storage, made_by(PathOfFile), tmp_path / "source")


@pytest.mark.parametrize("opener", [made_by(str), open_binary, anyio_file, upload])
async def test_memory_stays_flat_however_large_the_source(
    storage: JobStorage,
    tmp_path: Path,
    opener: Callable[[Path], AbstractAsyncContextManager[FileLike]],
) -> None:
    path = tmp_path / "source"
    path.write_bytes(Random(1).randbytes(32 * MIB))
    async with opener(path) as source:
        tracemalloc.start()
        try:
            await storage.save("job", "input/a", source)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 8 * MIB

"""Sources that are other libraries' own, and how much memory a large one takes."""

import io
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

from cl_server_shared.errors import InvalidSourceError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import FileLike, JobStorage
from cl_server_shared.testing.job_sources import check_source, made_by, made_of
from cl_server_shared.testing.streams import PlainReader
from tests.support.sync_storage import SyncJobStorage

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


async def test_without_a_loop_an_upload_is_refused_and_told_of_save(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    async with upload(tmp_path / "source") as source:
        with pytest.raises(InvalidSourceError, match="use 'await save"):
            await SyncJobStorage(tmp_path / "base").save("job", "input/a", source)


async def test_any_object_that_is_a_path_is_taken_as_one(
    storage: JobStorage, tmp_path: Path
) -> None:
    await check_source(storage, made_by(PathOfFile), tmp_path / "source")


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


@pytest.mark.parametrize(
    ("storage_class", "opener"),
    [
        *((LocalJobStorage, opener) for opener in (made_by(str), open_binary, anyio_file, upload)),
        *((SyncJobStorage, opener) for opener in (made_by(str), open_binary, made_of(PlainReader))),
    ],
)
async def test_memory_stays_flat_however_large_the_source(
    storage_class: type[LocalJobStorage],
    tmp_path: Path,
    opener: Callable[[Path], AbstractAsyncContextManager[FileLike]],
) -> None:
    storage, path = storage_class(tmp_path / "base"), tmp_path / "source"
    path.write_bytes(Random(1).randbytes(32 * MIB))
    async with opener(path) as source:
        tracemalloc.start()
        try:
            await storage.save("job", "input/a", source)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 8 * MIB

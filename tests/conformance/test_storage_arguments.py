"""What is given to a storage and is none of what it takes: refused by its name, nothing is made."""

import io
from pathlib import Path
from typing import Final

import pytest

from cl_server_shared.errors import ClServerError, ConfigError, InvalidPathError, InvalidSourceError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.protocols.files import JobStorage
from tests.support.sync_storage import SyncJobStorage

pytestmark = pytest.mark.anyio

NOT_TEXT: Final = (None, 5, b"job", Path("job"), ["job"], object())
BOTH: Final = pytest.mark.parametrize("storage_class", [LocalJobStorage, SyncJobStorage])


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return LocalJobStorage(tmp_path / "base")


def jobs_in(base: Path) -> list[Path]:
    return list((base / "jobs").iterdir())


def wanted(argument: str, value: object) -> str:
    return f"^{argument} .* is a {type(value).__name__}: give a str$"


@pytest.mark.parametrize("value", NOT_TEXT)
def test_a_job_id_of_another_type_is_refused_by_every_call(
    storage: JobStorage, tmp_path: Path, value: str
) -> None:
    for call in (
        storage.create_directory,
        storage.remove,
        storage.resolve_path,
        storage.list_files,
        storage.size_bytes,
        storage.verify,
    ):
        with pytest.raises(InvalidPathError, match=wanted("job_id", value)):
            call(value)

    assert jobs_in(tmp_path / "base") == []


@pytest.mark.parametrize("value", NOT_TEXT)
@BOTH
async def test_a_job_id_or_path_of_another_type_is_refused_with_its_name(
    storage_class: type[LocalJobStorage], tmp_path: Path, value: str
) -> None:
    storage = storage_class(tmp_path)
    for pair, argument in (((value, "input/a"), "job_id"), (("job", value), "relative_path")):
        with pytest.raises(InvalidPathError, match=wanted(argument, value)):
            storage.allocate_path(*pair)
        with pytest.raises(InvalidPathError, match=wanted(argument, value)):
            await storage.open(*pair)
        with pytest.raises(InvalidPathError, match=wanted(argument, value)):
            await storage.save(*pair, b"x")

    assert jobs_in(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "file None is a NoneType: give bytes"),
        (5, "file 5 is a int: give bytes"),
        (["a"], r"file \['a'\] is a list: give bytes"),
        (io.BytesIO, "is a type: give bytes"),
        ("in\0side", "is no path of a file .*null"),
        ("half \ud800 a pair", "is no path of a file"),
        (io.StringIO("text"), "gave a str, not bytes: open it in binary mode"),
    ],
)
@BOTH
async def test_a_source_of_another_type_is_refused_with_what_it_is(
    storage_class: type[LocalJobStorage], tmp_path: Path, source: str, said: str
) -> None:
    with pytest.raises(InvalidSourceError, match=said) as caught:
        await storage_class(tmp_path).save("job", "input/a", source)

    assert isinstance(caught.value, ClServerError)
    assert jobs_in(tmp_path) == []


@BOTH
async def test_a_closed_file_is_refused(
    storage_class: type[LocalJobStorage], tmp_path: Path
) -> None:
    source = io.BytesIO(b"content")
    source.close()

    with pytest.raises(InvalidSourceError, match="is closed: give bytes"):
        await storage_class(tmp_path).save("job", "input/a", source)


@pytest.mark.parametrize("value", [None, 5, b"/data", ["/data"]])
def test_a_base_folder_of_another_type_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=f"^base_dir .* is a {type(value).__name__}: give the"):
        LocalJobStorage(value)

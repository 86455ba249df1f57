"""What `verify` finds of a job's files, and that it only looks."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.models import FileReport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(tmp_path: Path) -> LocalJobStorage:
    """Return a storage with one job of two saved files."""
    storage = LocalJobStorage(tmp_path)
    await storage.save("job", "input/a", b"first")
    await storage.save("job", "input/b", b"second")
    return storage


def report(
    *, missing: tuple[str, ...] = (), changed: tuple[str, ...] = (), untracked: tuple[str, ...] = ()
) -> FileReport:
    return FileReport(job_id="job", missing=missing, changed=changed, untracked=untracked)


async def test_what_was_saved_is_sound(storage: LocalJobStorage) -> None:
    assert report() == storage.verify("job")
    assert storage.verify("job").is_sound


async def test_a_file_that_is_gone_is_missing(storage: LocalJobStorage) -> None:
    storage.resolve_path("job", "input/a").unlink()

    assert report(missing=("input/a",)) == storage.verify("job")
    assert not storage.verify("job").is_sound


@pytest.mark.parametrize("content", [b"first and more", b"firsT"], ids=["size", "hash"])
async def test_a_file_that_somebody_else_wrote_is_changed(
    storage: LocalJobStorage, content: bytes
) -> None:
    storage.resolve_path("job", "input/a").write_bytes(content)

    assert report(changed=("input/a",)) == storage.verify("job")


async def test_what_a_plugin_wrote_is_untracked(storage: LocalJobStorage) -> None:
    storage.allocate_path("job", "output/result").write_bytes(b"done")

    assert report(untracked=("output/result",)) == storage.verify("job")
    assert storage.verify("job").is_sound


async def test_a_file_saved_again_is_sound(storage: LocalJobStorage) -> None:
    await storage.save("job", "input/a", b"another content")

    assert report() == storage.verify("job")


async def test_a_record_that_was_cut_short_is_passed_over(
    storage: LocalJobStorage, tmp_path: Path
) -> None:
    with (tmp_path / "jobs" / "job" / ".cl-checksums").open("ab") as records:
        records.write(b'{"path": "input/')

    assert report() == storage.verify("job")


async def test_a_removed_job_leaves_no_record(storage: LocalJobStorage) -> None:
    storage.remove("job")

    with pytest.raises(FileNotFoundError):
        storage.verify("job")
    assert list(storage.verify_all()) == []


async def test_the_whole_store_is_reported_job_by_job(storage: LocalJobStorage) -> None:
    storage.create_directory("empty")
    await storage.save("another", "input/x", b"x")
    storage.resolve_path("another", "input/x").unlink()

    found = {each.job_id: each.is_sound for each in storage.verify_all()}

    assert found == {"another": False, "empty": True, "job": True}


async def test_verifying_changes_nothing(storage: LocalJobStorage, tmp_path: Path) -> None:
    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    storage.allocate_path("job", "output/result").write_bytes(b"done")
    storage.resolve_path("job", "input/a").write_bytes(b"changed")
    before = everything()

    list(storage.verify_all())

    assert before == everything()


async def test_records_are_no_files_of_the_job(storage: LocalJobStorage) -> None:
    assert storage.list_files("job") == ["input/a", "input/b"]
    assert storage.size_bytes("job") == len(b"first" + b"second")
    with pytest.raises(InvalidPathError):
        storage.resolve_path("job", ".cl-checksums")


async def test_a_report_can_be_dumped_and_cannot_be_changed(storage: LocalJobStorage) -> None:
    found = storage.verify("job")

    assert found.model_dump() == {"job_id": "job", "missing": (), "changed": (), "untracked": ()}
    with pytest.raises(ValidationError):
        found.job_id = "other"  # pyright: ignore[reportAttributeAccessIssue]  wrong on purpose


@pytest.mark.parametrize("job_id", ["", "..", "a/b"])
async def test_a_hostile_job_id_is_refused(storage: LocalJobStorage, job_id: str) -> None:
    with pytest.raises(InvalidPathError):
        storage.verify(job_id)

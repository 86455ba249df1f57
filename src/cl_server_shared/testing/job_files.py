"""What every job storage does with files; part of `JobStorageConformance`."""

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Final

import anyio
import pytest

from cl_server_shared.errors import ClServerError, InvalidPathError
from cl_server_shared.models import SavedJobFile
from cl_server_shared.protocols.files import JobStorage

# A storage that obeys them writes beside its jobs, or in the test's own folder, and nowhere else.
_BAD_PATHS: Final = ["", "{tmp_path}/a", "../a", "../../a", "b/../../a", "nul\0", "x" * 300]


class JobFilesConformance:
    """Saving and opening, whatever the names."""

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    # save and open

    async def test_what_was_saved_can_be_read_and_its_record_tells_the_truth(
        self, storage: JobStorage
    ) -> None:
        saved = await storage.save("job-123", "input/test.txt", b"Hello, World!")

        assert await read(storage, "job-123", "input/test.txt") == b"Hello, World!"
        assert saved == SavedJobFile(
            relative_path="input/test.txt", size=13, hash=sha256(b"Hello, World!").hexdigest()
        )

    @pytest.mark.parametrize(
        "path", ["a", "deep/er/and/deeper/file", "input/mein Foto (1) 写真.jpg", ".hidden/ x"]
    )
    async def test_the_given_path_comes_back_unchanged(
        self, storage: JobStorage, path: str
    ) -> None:
        saved = await storage.save("job", path, b"x")

        assert saved.relative_path == path
        assert storage.list_files("job") == [path]
        assert await read(storage, "job", path) == b"x"

    async def test_saving_again_replaces_the_whole_file(self, storage: JobStorage) -> None:
        await storage.save("job", "input/a", b"long old content")

        saved = await storage.save("job", "input/a", b"new")

        assert (saved.size, await read(storage, "job", "input/a")) == (3, b"new")
        assert storage.list_files("job") == ["input/a"]

    async def test_without_mkdirs_a_missing_folder_is_an_error_and_stays_missing(
        self, storage: JobStorage
    ) -> None:
        with pytest.raises(FileNotFoundError, match="mkdirs"):
            await storage.save("job", "input/a", b"x", mkdirs=False)
        assert storage.remove("job") is False

        storage.create_directory("job")
        await storage.save("job", "input/a", b"x", mkdirs=False)
        with pytest.raises(FileNotFoundError, match="mkdirs"):
            await storage.save("job", "input/deeper/a", b"x", mkdirs=False)

        assert storage.list_files("job") == ["input/a"]

    async def test_a_file_cannot_be_saved_over_a_folder_or_below_a_file(
        self, storage: JobStorage
    ) -> None:
        await storage.save("job", "input/a", b"old")

        for path in ("input", "input/a/b"):
            with pytest.raises(InvalidPathError):
                await storage.save("job", path, b"x")

        assert await read(storage, "job", "input/a") == b"old"
        assert storage.list_files("job") == ["input/a"]

    async def test_an_open_file_can_be_read_in_pieces_line_by_line_and_closed(
        self, storage: JobStorage
    ) -> None:
        await storage.save("job", "input/a", b"one\ntwo\nthree")

        async with await storage.open("job", "input/a") as file:
            pieces = [await file.read(2), await file.read(), await file.read()]
        again = await storage.open("job", "input/a")
        lines = [line async for line in again]
        await again.aclose()

        assert pieces == [b"on", b"e\ntwo\nthree", b""]
        assert lines == [b"one\n", b"two\n", b"three"]

    def test_both_kinds_of_call_save_and_open_the_same_files(self, storage: JobStorage) -> None:
        with pytest.raises(FileNotFoundError, match="mkdirs"):
            storage.save_sync("job", "input/a", b"x", mkdirs=False)
        saved = storage.save_sync("job", "input/a", b"content")

        with storage.open_sync("job", "input/a") as file:
            assert (file.read(3), file.read()) == (b"con", b"tent")
        assert anyio.run(read, storage, "job", "input/a") == b"content"
        assert saved == anyio.run(storage.save, "job", "input/a", b"content")
        with pytest.raises(FileNotFoundError, match="input/b"):
            storage.open_sync("job", "input/b")

    async def test_opening_what_is_not_there_is_file_not_found_and_makes_nothing(
        self, storage: JobStorage
    ) -> None:
        storage.create_directory("job")
        for job_id, path in (("job", "input/a"), ("job", "no/such/folder"), ("new", "input/a")):
            with pytest.raises(FileNotFoundError, match=path):
                await storage.open(job_id, path)

        assert storage.remove("new") is False

    async def test_a_folder_cannot_be_opened(self, storage: JobStorage) -> None:
        storage.create_directory("job")

        with pytest.raises(InvalidPathError):
            await storage.open("job", "input")

    async def test_a_reader_keeps_the_file_that_it_opened(self, storage: JobStorage) -> None:
        await storage.save("job", "input/a", b"old")
        async with await storage.open("job", "input/a") as file:
            await storage.save("job", "input/a", b"new")
            storage.remove("job")

            assert await file.read() == b"old"

    async def test_a_large_file_is_stored_like_others(self, storage: JobStorage) -> None:
        for content in (os.urandom(3_000_000), os.urandom(2_000_000)):
            saved = await storage.save("job", "input/a", content)

            assert (saved.size, saved.hash) == (len(content), sha256(content).hexdigest())
            assert await read(storage, "job", "input/a") == content

    async def test_sources_that_are_no_bytes_are_refused_and_nothing_is_made(
        self, storage: JobStorage, tmp_path: Path
    ) -> None:
        text = tmp_path / "text"
        text.write_text("text")
        sources = [io.StringIO("text"), None, 5, ["a"]]

        with text.open() as file:
            async with await anyio.open_file(text) as stream:
                for source in (*sources, file, stream):
                    with pytest.raises(TypeError) as caught:
                        await storage.save("job", "input/a", source)  # pyright: ignore[reportArgumentType]  wrong on purpose
                    assert isinstance(caught.value, ClServerError)

        assert storage.remove("job") is False

    @pytest.mark.parametrize("job_id", ["", ".", "..", "a/b", "nul\0", "x" * 300], ids=ascii)
    async def test_a_job_id_that_is_no_name_of_a_folder_is_refused(
        self, storage: JobStorage, job_id: str
    ) -> None:
        with pytest.raises(InvalidPathError):
            await storage.save(job_id, "input/a", b"x")
        with pytest.raises(InvalidPathError):
            await storage.open(job_id, "input/a")
        # Removing comes last: a storage that would remove more than a job has failed before.
        for call in (storage.list_files, storage.create_directory, storage.remove):
            with pytest.raises(InvalidPathError):
                call(job_id)

    @pytest.mark.parametrize("bad", _BAD_PATHS, ids=ascii)
    async def test_a_path_that_leaves_the_job_is_refused(
        self, storage: JobStorage, tmp_path: Path, bad: str
    ) -> None:
        path = bad.format(tmp_path=tmp_path)
        with pytest.raises(InvalidPathError):
            await storage.save("job", path, b"x")
        with pytest.raises(InvalidPathError):
            await storage.open("job", path)
        for call in (storage.allocate_path, storage.resolve_path):
            with pytest.raises(InvalidPathError):
                call("job", path)


async def read(storage: JobStorage, job_id: str, relative_path: str) -> bytes:
    """Read a whole stored file."""
    async with await storage.open(job_id, relative_path) as file:
        return await file.read()

"""What every job storage does with the folder of a job: making, listing, removing, verifying."""

from typing import ClassVar

import pytest

from cl_server_shared.protocols.files import JobStorage


class JobFoldersConformance:
    """The folder of a job; part of `JobStorageConformance`."""

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    def test_create_directory_makes_input_and_output_and_may_be_repeated(
        self, storage: JobStorage
    ) -> None:
        storage.create_directory("job")
        storage.allocate_path("job", "input/kept").touch()
        storage.create_directory("job")

        entries = sorted(entry.name for entry in storage.resolve_path("job").iterdir())
        assert entries == ["input", "output"]
        assert storage.list_files("job") == ["input/kept"]

    async def test_remove_takes_one_job_and_tells_whether_it_was_there(
        self, storage: JobStorage
    ) -> None:
        await storage.save("job", "input/deep/er/a", b"x")
        await storage.save("job2", "input/a", b"x")

        assert storage.remove("job") is True
        assert storage.remove("job") is False
        assert storage.list_files("job") == []
        assert storage.list_files("job2") == ["input/a"]

    async def test_a_removed_job_can_be_used_again(self, storage: JobStorage) -> None:
        await storage.save("job", "input/a", b"old")
        storage.remove("job")

        await storage.save("job", "input/b", b"new")

        assert storage.list_files("job") == ["input/b"]

    def test_allocated_paths_are_absolute_and_can_be_written_at_once(
        self, storage: JobStorage
    ) -> None:
        path = storage.allocate_path("job", "output/deep/result.txt")
        path.write_text("done")

        assert path.is_absolute()
        assert storage.list_files("job") == ["output/deep/result.txt"]

    def test_allocating_without_mkdirs_makes_nothing(self, storage: JobStorage) -> None:
        path = storage.allocate_path("job", "output/result.txt", mkdirs=False)

        assert path.is_absolute()
        assert storage.remove("job") is False

    def test_resolved_paths_have_their_parents(self, storage: JobStorage) -> None:
        job = storage.resolve_path("job")
        (job / "a").touch()
        storage.resolve_path("job", "output/deep/a").touch()

        assert storage.list_files("job") == ["a", "output/deep/a"]
        assert storage.resolve_path("job", "output").is_dir()
        assert storage.resolve_path("job", "output/deep/a") == job / "output" / "deep" / "a"

    # list, measure and verify

    async def test_files_are_listed_and_measured(self, storage: JobStorage) -> None:
        await storage.save("job", "output/b", b"22")
        await storage.save("job", "input/a", b"1")
        await storage.save("job", "z", b"333")
        await storage.save("other", "input/a", b"4444")

        assert storage.list_files("job") == ["input/a", "output/b", "z"]
        assert (storage.size_bytes("job"), storage.size_bytes("other")) == (6, 4)
        assert storage.total_size_bytes() == 10

    def test_an_unknown_job_has_no_files_and_no_size(self, storage: JobStorage) -> None:
        assert (storage.list_files("job"), storage.size_bytes("job")) == ([], 0)
        assert storage.total_size_bytes() == 0
        assert list(storage.verify_all()) == []
        with pytest.raises(FileNotFoundError):
            storage.verify("job")

    async def test_what_was_saved_is_sound_and_what_another_hand_did_is_found(
        self, storage: JobStorage
    ) -> None:
        for name in ("kept", "gone", "changed"):
            await storage.save("job", f"input/{name}", b"first")
        await storage.save("sound", "input/a", b"x")
        storage.allocate_path("job", "output/result").write_bytes(b"done")
        assert [report.is_sound for report in storage.verify_all()] == [True, True]
        storage.resolve_path("job", "input/gone").unlink()
        storage.resolve_path("job", "input/changed").write_bytes(b"other")

        found = storage.verify("job")

        expected = (("input/gone",), ("input/changed",), ("output/result",))
        assert (found.missing, found.changed, found.untracked) == expected
        assert {each.job_id: each.is_sound for each in storage.verify_all()} == {
            "job": False,
            "sound": True,
        }

"""How every repository lets one wait for jobs; part of `JobManagementConformance`."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobStatus
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.records import at, completed, job

_RESIZE = ["resize"]
_SOON_SECONDS = 20.0
"""Within this what is waited for comes: generous, since the machine may be busy."""


class JobWaitingConformance:
    """Waiting for the end of a job, for its changes, and for work."""

    def test_a_wait_ends_with_the_final_record(self, repository: JobManagement) -> None:
        repository.add_job(job())
        with ThreadPoolExecutor() as threads:
            found = threads.submit(repository.wait_for_job, "job", _SOON_SECONDS)
            repository.fetch_next_job(_RESIZE)
            repository.update_job("job", at(50))
            repository.update_job("job", completed({"ok": True}))

        assert found.result() == job(status="completed", progress=100, output={"ok": True})

    def test_what_is_final_or_not_there_needs_no_wait(self, repository: JobManagement) -> None:
        repository.add_job(job("done", status="completed"))

        done = repository.wait_for_job("done", 0)
        assert done is not None
        assert done.status is JobStatus.completed
        assert repository.wait_for_job("unknown", None) is None
        assert list(repository.watch_job("unknown")) == []
        assert [seen.status for seen in repository.watch_job("done")] == [JobStatus.completed]

    def test_a_wait_for_a_removed_job_ends_without_one(self, repository: JobManagement) -> None:
        repository.add_job(job())
        with ThreadPoolExecutor() as threads:
            found = threads.submit(repository.wait_for_job, "job", _SOON_SECONDS)
            repository.delete_job("job")

        assert found.result() is None

    @pytest.mark.parametrize("seconds", [0, 0.05])
    def test_a_wait_that_is_over_tells_which_job_and_how_long(
        self, repository: JobManagement, seconds: float
    ) -> None:
        repository.add_job(job())

        with pytest.raises(TimeoutError, match=f"job 'job' is not final after {seconds} s"):
            repository.wait_for_job("job", seconds)
        with pytest.raises(TimeoutError):
            list(repository.watch_job("job", seconds))
        assert repository.wait_for_work(["other"], seconds) is False
        assert repository.wait_for_work([], seconds) is False

    @pytest.mark.parametrize("seconds", [-1, float("nan"), "5"])
    def test_no_time_to_wait_is_refused(self, repository: JobManagement, seconds: float) -> None:
        calls = (
            lambda: repository.wait_for_job("job", seconds),
            lambda: repository.watch_job("job", seconds),
            lambda: repository.wait_for_work(_RESIZE, seconds),
        )
        for call in calls:
            with pytest.raises(InvalidJobError, match="timeout_seconds"):
                call()

    def test_a_watch_shows_each_change_and_ends_with_the_last(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job())
        changes = iter(
            [
                lambda: repository.fetch_next_job(_RESIZE),
                lambda: repository.update_job("job", at(10)),
                lambda: repository.update_job("job", completed()),
            ]
        )
        seen: list[tuple[str, int]] = []
        for record in repository.watch_job("job", _SOON_SECONDS):
            seen.append((record.status.value, record.progress))
            next(changes, lambda: None)()

        assert seen == [("queued", 0), ("processing", 0), ("processing", 10), ("completed", 100)]

    def test_who_waits_for_work_is_woken_by_a_job_of_these_types(
        self, repository: JobManagement
    ) -> None:
        with ThreadPoolExecutor() as threads:
            found: Future[bool] = threads.submit(
                repository.wait_for_work, ["a", "resize"], _SOON_SECONDS
            )
            repository.add_job(job("other", "other"))
            repository.add_job(job())

        assert found.result() is True
        claimed = repository.fetch_next_job(_RESIZE)
        assert claimed is not None
        assert claimed.job_id == "job"

"""What every repository knows of a job beside its record; part of `JobManagementConformance`."""

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobFilter, JobStatus, NewJob
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.records import completed, failed, job

_RESIZE = ["resize"]
_HOUR_MS = 3_600_000
_SOON_SECONDS = 20.0


class JobDetailsConformance:
    """Jobs for later, their details, searches by time, and what is kept for the next try."""

    # run_at

    def test_a_job_for_later_is_not_claimed_before(self, repository: JobManagement) -> None:
        later_ms = now_ms_of(repository) + _HOUR_MS
        repository.add_job(job("later"), run_at=later_ms)
        repository.add_job(job("past"), run_at=1)

        claimed = repository.fetch_next_jobs(_RESIZE, 5)

        assert [each.job_id for each in claimed] == ["past"]
        assert not repository.wait_for_work(_RESIZE, 0)
        details = repository.get_details("later")
        assert details is not None
        assert details.available_at == later_ms

    def test_a_job_for_later_wakes_who_waits_for_work_when_it_is_due(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job(), run_at=now_ms_of(repository) + 200)

        assert repository.wait_for_work(_RESIZE, _SOON_SECONDS)
        assert repository.fetch_next_job(_RESIZE) is not None

    def test_a_retry_by_hand_brings_a_job_for_later_forward(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job(), run_at=now_ms_of(repository) + _HOUR_MS)

        assert repository.retry_job("job")
        assert repository.fetch_next_job(_RESIZE) is not None

    @pytest.mark.parametrize("run_at", [2**63, True, 1.5])
    def test_a_time_that_is_none_is_refused(self, repository: JobManagement, run_at: int) -> None:
        with pytest.raises(InvalidJobError, match="run_at"):
            repository.add_job(job(), run_at=run_at)
        assert repository.get_job("job") is None

    def test_only_a_waiting_job_has_a_time(self, repository: JobManagement) -> None:
        with pytest.raises(InvalidJobError, match="run_at"):
            repository.add_job(job(status="completed"), run_at=now_ms_of(repository) + _HOUR_MS)
        assert repository.get_job("job") is None

    def test_each_job_of_a_batch_has_its_own_settings(self, repository: JobManagement) -> None:
        several = [
            job("plain"),
            NewJob(job("first"), created_by="bob", priority=9, max_retries=0),
            NewJob(job("later"), run_at=now_ms_of(repository) + _HOUR_MS),
        ]

        assert repository.add_jobs(several, "ada") == [True, True, True]

        found = {each.job_id: each for each in repository.find_jobs().jobs}
        makers = {job_id: each.created_by for job_id, each in found.items()}
        assert makers == {"plain": "ada", "first": "bob", "later": "ada"}
        assert (found["first"].priority, found["first"].max_retries) == (9, 0)
        claimed = repository.fetch_next_jobs(_RESIZE, 5)
        assert [each.job_id for each in claimed] == ["first", "plain"]

    def test_a_bad_setting_in_a_batch_is_told_by_position_and_nothing_is_stored(
        self, repository: JobManagement
    ) -> None:
        with pytest.raises(InvalidJobError, match="position 1"):
            repository.add_jobs([job("a"), NewJob(job("b"), max_retries=-1)])
        assert repository.count_jobs() == {}

    # get_details and find_jobs

    def test_details_follow_the_life_of_a_job(self, repository: JobManagement) -> None:
        began_ms = now_ms_of(repository)
        repository.add_job(job(params={"a": 1}), "ada", 5, max_retries=2)
        waiting = repository.get_details("job")
        repository.fetch_next_job(_RESIZE)
        running = repository.get_details("job")
        repository.update_job("job", completed({"b": 2}))
        done = repository.get_details("job")

        assert waiting is not None
        assert (waiting.created_by, waiting.priority, waiting.max_retries) == ("ada", 5, 2)
        assert (waiting.params, waiting.status) == ({"a": 1}, JobStatus.queued)
        assert began_ms <= waiting.created_at < began_ms + _HOUR_MS
        assert (waiting.started_at, waiting.completed_at, waiting.worker_id) == (None, None, None)
        assert running is not None
        assert running.started_at is not None
        assert running.lease_expires_at is not None
        assert running.lease_expires_at > running.started_at >= waiting.created_at
        assert running.worker_id
        assert done is not None
        assert (done.output, done.progress) == ({"b": 2}, 100)
        assert done.completed_at is not None
        assert done.completed_at >= running.started_at
        assert repository.get_details("unknown") is None

    def test_details_tell_why_a_try_failed_and_who_cancelled(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job("failed"), max_retries=3)
        repository.fetch_next_job(_RESIZE)
        repository.update_job("failed", failed("boom"))
        repository.add_job(job("cancelled"))
        repository.cancel_job("cancelled", "no need")

        tried, cancelled = map(repository.get_details, ("failed", "cancelled"))
        assert tried is not None
        assert (tried.last_error, tried.retry_count) == ("boom", 1)
        assert cancelled is not None
        assert cancelled.cancel_reason == "no need"

    def test_jobs_are_found_by_their_ids_and_in_both_orders(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job(name) for name in "abcd"])

        def ids(wanted: JobFilter) -> list[str]:
            return [found.job_id for found in repository.find_jobs(wanted).jobs]

        assert ids(JobFilter(job_ids=["c", "a", "unknown"])) == ["c", "a"]
        assert ids(JobFilter(job_ids=["a", "c"], order="oldest")) == ["a", "c"]
        assert ids(JobFilter(job_ids=[])) == []

    def test_pages_go_on_in_the_order_of_the_oldest_first(self, repository: JobManagement) -> None:
        repository.add_jobs([job(name) for name in "abcde"])
        oldest = JobFilter(order="oldest")
        pages, after = list[list[str]](), None
        while True:
            page = repository.find_jobs(oldest, limit=2, after=after)
            pages.append([each.job_id for each in page.jobs])
            if (after := page.next) is None:
                break

        assert pages == [["a", "b"], ["c", "d"], ["e"]]

    def test_jobs_are_found_by_when_they_ended(self, repository: JobManagement) -> None:
        repository.add_jobs([job("waiting"), job("done", status="completed")])
        done = repository.get_details("done")
        assert done is not None
        assert done.completed_at is not None

        def ids(wanted: JobFilter) -> list[str]:
            return [found.job_id for found in repository.find_jobs(wanted).jobs]

        assert ids(JobFilter(finished_from=done.completed_at)) == ["done"]
        assert ids(JobFilter(finished_before=done.completed_at)) == []
        assert ids(JobFilter(finished_before=done.completed_at + 1)) == ["done"]
        assert ids(JobFilter(finished_from=done.completed_at + 1)) == []

    # retry_jobs, cancel_jobs, delete_jobs

    def test_failed_jobs_are_tried_again_at_most_so_many(self, repository: JobManagement) -> None:
        repository.add_jobs([job(name, status="error") for name in "abc"])
        repository.add_job(job("done", status="completed"))
        errors = JobFilter(statuses=[JobStatus.error], order="oldest")

        assert repository.retry_jobs(errors, 2) == ["a", "b"]
        assert repository.retry_jobs(errors, 2) == ["c"]
        assert repository.retry_jobs(errors, 2) == []
        assert repository.count_jobs() == {"completed": {"resize": 1}, "queued": {"resize": 3}}

    def test_jobs_of_a_filter_are_cancelled_with_one_reason(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job("a"), job("b"), job("other", "transcode")])
        with pytest.raises(InvalidJobError, match="reason"):
            repository.cancel_jobs(JobFilter(), "", 10)

        assert repository.cancel_jobs(JobFilter(task_types=_RESIZE), "no need", 10) == ["b", "a"]
        assert repository.cancel_jobs(JobFilter(task_types=_RESIZE), "no need", 10) == []
        cancelled = repository.get_job("a")
        assert cancelled is not None
        assert cancelled.error_message == "cancelled: no need"
        assert repository.fetch_next_job(["resize", "transcode"]) == job(
            "other", "transcode", status="processing"
        )

    def test_jobs_of_a_filter_are_deleted_and_no_others(self, repository: JobManagement) -> None:
        repository.add_jobs([job("a", status="completed"), job("b", status="error"), job("c")])
        final = JobFilter(statuses=[JobStatus.completed, JobStatus.error], order="oldest")

        assert repository.delete_jobs(final, 1) == ["a"]
        assert repository.delete_jobs(final, 5) == ["b"]
        assert repository.count_jobs() == {"queued": {"resize": 1}}

    @pytest.mark.parametrize("limit", [0, -1, True])
    def test_how_many_at_most_is_one_or_more(self, repository: JobManagement, limit: int) -> None:
        repository.add_job(job(status="error"))
        for call in (
            lambda: repository.retry_jobs(JobFilter(), limit),
            lambda: repository.cancel_jobs(JobFilter(), "no need", limit),
            lambda: repository.delete_jobs(JobFilter(), limit),
        ):
            with pytest.raises(InvalidJobError, match="limit"):
                call()
        assert repository.get_job("job") == job(status="error")

    # checkpoints

    def test_a_checkpoint_is_kept_for_the_next_try_until_the_job_is_removed(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job(), max_retries=3)
        assert repository.checkpoint("job") is None
        assert repository.save_checkpoint("job", {"page": 1}) is False  # it is not running
        repository.fetch_next_job(_RESIZE)
        assert repository.save_checkpoint("job", {"page": 1}) is True
        assert repository.save_checkpoint("job", {"page": 2, "é": [None, "漢"]}) is True
        assert repository.fail_job("job", "boom", retry_after_seconds=0)
        assert repository.fetch_next_job(_RESIZE) is not None

        assert repository.checkpoint("job") == {"page": 2, "é": [None, "漢"]}
        repository.delete_job("job")
        assert repository.checkpoint("job") is None
        assert repository.save_checkpoint("job", {}) is False

    def test_what_is_no_json_object_is_no_checkpoint(self, repository: JobManagement) -> None:
        repository.add_job(job())
        repository.fetch_next_job(_RESIZE)
        repository.save_checkpoint("job", {"page": 1})

        for bad in ({"x": float("nan")}, {"x": "\0"}, {"x": {1, 2}}):
            with pytest.raises(InvalidJobError):
                repository.save_checkpoint("job", bad)
        assert repository.checkpoint("job") == {"page": 1}


def now_ms_of(repository: JobManagement) -> int:
    """Return the time by the repository's own clock."""
    repository.add_job(job("clock", "clock"))
    asked = repository.get_details("clock")
    repository.delete_job("clock")
    assert asked is not None
    return asked.created_at

"""What every repository does that stores, workers and operators use: the suite for your own."""

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobStatus
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.job_details import JobDetailsConformance
from cl_server_shared.testing.job_purge import JobPurgeConformance
from cl_server_shared.testing.job_reports import JobReportsConformance
from cl_server_shared.testing.job_repository import JobRepositoryConformance
from cl_server_shared.testing.job_search import JobSearchConformance
from cl_server_shared.testing.job_waiting import JobWaitingConformance
from cl_server_shared.testing.records import at, completed, failed, job

_RESIZE = ["resize"]


class JobManagementConformance(
    JobRepositoryConformance,
    JobDetailsConformance,
    JobPurgeConformance,
    JobReportsConformance,
    JobSearchConformance,
    JobWaitingConformance,
):
    """What a `JobManagement` does: the five verbs of `JobRepositoryConformance`, and all beside.

    Its fixtures are those of `JobRepositoryConformance`. The repository's clock runs, and it tries
    failed jobs again, at once or later.
    """

    # batches

    def test_a_batch_tells_of_each_job_whether_it_was_new(self, repository: JobManagement) -> None:
        repository.add_job(job("a"))

        assert repository.add_jobs([]) == []
        assert repository.add_jobs([job("a"), job("b"), job("b")], "ada") == [False, True, False]

    def test_one_bad_record_of_a_batch_is_told_by_position_and_nothing_is_stored(
        self, repository: JobManagement
    ) -> None:
        bad = job("bad")
        bad.params["not"] = float("nan")

        with pytest.raises(InvalidJobError, match="position 1"):
            repository.add_jobs([job("a"), bad])
        assert repository.count_jobs() == {}

    def test_one_bad_update_of_a_batch_is_told_by_position_and_nothing_is_stored(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job("a"), job("b")])
        bad = at(50).model_copy(update={"progress": 101})

        with pytest.raises(InvalidJobError, match="position 1"):
            repository.finish_jobs({"a": completed(), "b": bad})
        assert repository.count_jobs() == {"queued": {"resize": 2}}

    def test_a_batch_of_claims_follows_the_line_and_ends_at_its_limit(
        self, repository: JobManagement
    ) -> None:
        for job_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
            repository.add_job(job(job_id), priority=priority)

        claims = [repository.fetch_next_jobs(_RESIZE, 3) for _ in range(3)]

        ids = [[claimed.job_id for claimed in batch] for batch in claims]
        assert ids == [["high", "first", "second"], ["low"], []]

    def test_a_batch_of_updates_tells_of_each_what_update_job_would(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job("a"), job("b"), job("c")])
        repository.fetch_next_jobs(_RESIZE, 2)
        repository.cancel_job("c", "no need")

        updates = {"a": completed(), "b": at(50), "c": at(50), "unknown": completed()}
        expected = {"a": True, "b": True, "c": False, "unknown": False}
        assert repository.finish_jobs(updates) == expected

    def test_a_batch_stores_every_text_as_it_is(self, repository: JobManagement) -> None:
        odd = ["", '"', "\\", '\\"', "{a,b}", "NULL", " ", "\n\t", "it's", "é漢😀", "%s %(a)s"]
        given = [
            job(f"{n} {text.strip() or 'blank'}", params={text: text}, error_message=text or None)
            for n, text in enumerate(odd)
        ]
        assert repository.add_jobs(given, "ada") == [True] * len(odd)
        assert [repository.get_job(each.job_id) for each in given] == given

        claimed = repository.fetch_next_jobs(_RESIZE, len(odd))
        assert [each.job_id for each in claimed] == [each.job_id for each in given]
        ends = {each.job_id: completed({t: [t]}) for each, t in zip(given, odd, strict=True)}
        assert all(repository.finish_jobs(ends).values())
        found = {each.job_id: each.output for each in repository.find_jobs().jobs}
        assert found == {job_id: end.output for job_id, end in ends.items()}

    def test_a_batch_keeps_what_each_of_its_jobs_is(self, repository: JobManagement) -> None:
        given = [
            job("waiting"),
            job("half", "other", status="processing", progress=50),
            job("done", status="completed", progress=100, output={"a": 1}),
            job("failed", status="error", error_message="boom"),
        ]
        assert repository.add_jobs(given) == [True] * 4

        assert [repository.get_job(each.job_id) for each in given] == given

    def test_a_batch_of_updates_stores_different_ends(self, repository: JobManagement) -> None:
        repository.add_jobs([job(name) for name in "abcd"])
        repository.fetch_next_jobs(_RESIZE, 4)

        updates = {"d": completed({"n": 4}), "a": at(10), "c": failed(), "b": completed({"n": 2})}
        assert repository.finish_jobs(updates) == {"d": True, "a": True, "c": True, "b": True}

        now = {
            each.job_id: (each.status.value, each.output) for each in repository.find_jobs().jobs
        }
        assert now == {
            "a": ("processing", None),
            "b": ("completed", {"n": 2}),
            "c": ("queued", None),
            "d": ("completed", {"n": 4}),
        }

    def test_a_lost_claim_in_a_batch_leaves_the_others_alone(
        self, repository: JobManagement, another_repository: JobManagement
    ) -> None:
        repository.add_jobs([job(name) for name in "abc"])
        assert len(repository.fetch_next_jobs(_RESIZE, 3)) == 3
        assert another_repository.release_job("b")
        assert another_repository.cancel_job("c", "no need")

        done = repository.finish_jobs({name: completed({"n": name}) for name in "abc"})

        assert done == {"a": True, "b": False, "c": True}
        assert repository.get_job("b") == job("b")

    @pytest.mark.parametrize("limit", [0, -1, True, 2**31])
    def test_limits_that_are_none_are_refused(self, repository: JobManagement, limit: int) -> None:
        calls = (
            lambda: repository.find_jobs(limit=limit),
            lambda: repository.fetch_next_jobs(_RESIZE, limit),
            lambda: repository.purge_finished(1, limit, str),
        )
        for call in calls:
            with pytest.raises(InvalidJobError, match="limit"):
                call()

    # cancel, release and retry

    @pytest.mark.parametrize("job_id", ["unknown", "", "a\0b", "\ud800", "x" * 300], ids=ascii)
    def test_an_unknown_job_gives_the_documented_value(
        self, repository: JobManagement, job_id: str
    ) -> None:
        assert repository.cancel_job(job_id, "no need") is False
        assert repository.release_job(job_id) is False
        assert repository.retry_job(job_id) is False
        assert repository.finish_jobs({job_id: completed()}) == {job_id: False}
        assert repository.attempts(job_id) == ()

    def test_a_cancellation_needs_a_reason_and_a_live_job(self, repository: JobManagement) -> None:
        repository.add_job(job())
        with pytest.raises(InvalidJobError, match="reason"):
            repository.cancel_job("job", "")

        assert repository.cancel_job("job", "no need")
        assert not repository.cancel_job("job", "no need")
        found = repository.get_job("job")
        assert found is not None
        assert (found.status, found.error_message) == (JobStatus.error, "cancelled: no need")

    def test_only_a_running_job_is_released_and_no_try_is_counted(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job())
        assert not repository.release_job("job")
        repository.fetch_next_job(_RESIZE)
        assert repository.release_job("job")

        assert repository.get_job("job") == job()
        assert repository.attempts("job") == ()
        assert repository.fetch_next_job(_RESIZE) is not None

    def test_a_failed_try_is_kept_and_a_retry_by_hand_comes_at_once(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(_RESIZE)
        assert not repository.retry_job("job")  # it is running
        repository.update_job("job", failed())

        assert [attempt.error for attempt in repository.attempts("job")] == ["boom"]
        assert repository.retry_job("job")  # it waited for its next try
        assert repository.fetch_next_job(_RESIZE) is not None

    @pytest.mark.parametrize("status", [JobStatus.completed, JobStatus.error])
    def test_a_job_that_ended_can_run_again(
        self, repository: JobManagement, status: JobStatus
    ) -> None:
        repository.add_job(job(status=status, output={"old": True}))

        assert repository.retry_job("job")
        assert not repository.retry_job("unknown")

        claimed = repository.fetch_next_job(_RESIZE)
        assert claimed is not None
        assert claimed.job_id == "job"

    def test_without_an_expired_lease_there_is_nothing_to_recover(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job("a"), job("b", status="processing")])
        repository.fetch_next_job(_RESIZE)

        assert repository.recover_expired() == 0

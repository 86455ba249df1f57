"""What every job repository does with updates; part of `JobRepositoryConformance`."""

import contextlib

import pytest

from cl_server_shared.errors import InvalidJobError, JobLost
from cl_server_shared.models import JobRecordUpdate, JobStatus
from cl_server_shared.protocols.jobs import JobRepository
from cl_server_shared.testing.records import at, completed, failed, job

FINAL = (JobStatus.completed, JobStatus.error)


class JobUpdatesConformance:
    """Updates of a job, its end, and what several owners may do."""

    # update_job

    @pytest.mark.parametrize("is_claimed", [True, False])
    @pytest.mark.parametrize(
        "update",
        [
            {"progress": 5},
            {"output": {"a": 1}},
            {"error_message": "so far"},
            {"status": "processing"},
            {"status": "completed", "progress": 100, "output": {"a": 1}},
        ],
        ids=str,
    )
    def test_a_live_job_becomes_as_asked_for(
        self, repository: JobRepository, update: dict[str, object], *, is_claimed: bool
    ) -> None:
        repository.add_job(job())
        if is_claimed:
            repository.fetch_next_job(["resize"])

        assert repository.update_job("job", JobRecordUpdate.model_validate(update)) is True

        stored = repository.get_job("job")
        status = {"status": "processing"} if is_claimed else {}
        assert stored == job(**{**status, **update})

    def test_completion_is_100_percent(self, repository: JobRepository) -> None:
        repository.add_job(job())

        assert repository.update_job("job", JobRecordUpdate(status=JobStatus.completed))

        assert repository.get_job("job") == job(status="completed", progress=100)

    def test_an_error_reported_from_outside_is_final(self, repository: JobRepository) -> None:
        repository.add_job(job())

        assert repository.update_job("job", failed("boom")) is True

        assert repository.get_job("job") == job(status="error", error_message="boom")
        assert repository.fetch_next_job(["resize"]) is None

    def test_progress_never_goes_back(self, repository: JobRepository) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])

        assert [repository.update_job("job", at(p)) for p in (50, 40, 50, 60)] == [
            True,
            False,
            True,
            True,
        ]
        assert repository.get_job("job") == job(status="processing", progress=60)

    @pytest.mark.parametrize("status", FINAL)
    def test_what_ended_stays_as_it_is(self, repository: JobRepository, status: JobStatus) -> None:
        ended = job(status=status, progress=40, output={"a": 1}, error_message="text")
        repository.add_job(ended)
        others = [JobRecordUpdate(status=other) for other in JobStatus if other is not status]
        others += [at(41), JobRecordUpdate(output={}), JobRecordUpdate(error_message="other")]

        assert [repository.update_job("job", other) for other in others] == [False] * len(others)
        assert repository.get_job("job") == ended

    def test_a_report_of_the_end_that_comes_twice_is_true_twice(
        self, repository: JobRepository
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])
        end = JobRecordUpdate(status=JobStatus.completed, progress=50, output={"b": 1, "a": [2]})

        assert [repository.update_job("job", end) for _ in range(2)] == [True, True]

    def test_an_update_that_cannot_be_stored_is_refused_and_changes_nothing(
        self, repository: JobRepository
    ) -> None:
        repository.add_job(job())
        bad = JobRecordUpdate.model_construct(progress=101)

        with pytest.raises(InvalidJobError):
            repository.update_job("job", bad)

        assert repository.get_job("job") == job()

    # delete_job, and several owners

    @pytest.mark.parametrize("status", JobStatus)
    def test_any_job_can_be_deleted(self, repository: JobRepository, status: JobStatus) -> None:
        repository.add_job(job(status=status))

        assert [repository.delete_job("job") for _ in range(2)] == [True, False]
        assert repository.get_job("job") is None

    def test_each_job_is_claimed_once_by_two_that_take_turns(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        for number in range(10):
            repository.add_job(job(str(number)))

        taken = [each.fetch_next_job(["resize"]) for each in [repository, another_repository] * 6]

        assert [each and each.job_id for each in taken] == [*map(str, range(10)), None, None]

    def test_anybody_may_complete_a_job_that_another_claimed(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])

        assert another_repository.update_job("job", completed()) is True
        assert repository.update_job("job", failed()) is False
        assert repository.get_job("job") == job(status="completed", progress=100)

    def test_what_another_changed_meanwhile_is_not_overwritten(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])
        assert another_repository.update_job(
            "job", JobRecordUpdate(progress=30, output={"note": "kept"})
        )

        assert repository.update_job("job", at(20)) is False
        assert repository.update_job("job", at(40)) is True
        assert repository.update_job("job", JobRecordUpdate(status=JobStatus.completed)) is True
        assert repository.get_job("job") == job(
            status="completed", progress=100, output={"note": "kept"}
        )

    def test_who_lost_a_claim_cannot_change_the_job_any_more(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])
        another_repository.update_job("job", JobRecordUpdate(status=JobStatus.queued))
        claimed = another_repository.fetch_next_job(["resize"])

        refuse_late_reports(repository)

        assert another_repository.get_job("job") == claimed

    def test_a_claim_does_not_outlive_its_job(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(["resize"])
        another_repository.delete_job("job")
        another_repository.add_job(job())
        claimed = another_repository.fetch_next_job(["resize"])

        refuse_late_reports(repository)

        assert another_repository.get_job("job") == claimed


def refuse_late_reports(late: JobRepository) -> None:
    """Report as a worker that does not know that it lost its job."""
    assert late.update_job("job", completed({"late": True})) is False
    assert late.update_job("job", failed("late")) is False
    with contextlib.suppress(JobLost):  # it may also tell the worker to stop
        assert late.update_job("job", at(99)) is False

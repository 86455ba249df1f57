"""How every job repository hands jobs out; part of `JobRepositoryConformance`."""

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.protocols.jobs import JobRepository
from cl_server_shared.testing.job_updates import FINAL
from cl_server_shared.testing.records import job


class JobClaimsConformance:
    """The order of claims, and what is not handed out."""

    def test_the_highest_priority_is_served_first_then_the_oldest(
        self, repository: JobRepository
    ) -> None:
        priorities = {"a": 0, "b": 5, "c": -(2**63), "d": 5, "e": 2**63 - 1, "f": None, "g": -1}
        for job_id, priority in priorities.items():
            repository.add_job(job(job_id), priority=priority)

        served = [repository.fetch_next_job(["resize"]) for _ in priorities]

        assert [each.job_id for each in served if each] == ["e", "b", "d", "a", "f", "g", "c"]

    def test_only_wanted_types_are_served_across_types_in_one_line(
        self, repository: JobRepository
    ) -> None:
        for job_id, task_type in enumerate(["one", "two", "other", "one", "two"]):
            repository.add_job(job(str(job_id), task_type), priority=job_id % 2)

        served = [repository.fetch_next_job(["two", "none", "one", "two"]) for _ in range(5)]

        assert [each and each.job_id for each in served] == ["1", "3", "0", "4", None]

    def test_a_claimed_job_is_processing_for_everybody(
        self, repository: JobRepository, another_repository: JobRepository
    ) -> None:
        repository.add_job(job(params={"a": 1}))

        claimed = repository.fetch_next_job(["resize"])

        assert claimed == job(params={"a": 1}, status="processing")
        assert another_repository.get_job("job") == claimed
        assert another_repository.fetch_next_job(["resize"]) is None

    @pytest.mark.parametrize(
        "task_types", [[], (), ["other"], ["", "RESIZE", "resize "], ["a\0"], ["\ud800"]]
    )
    def test_without_a_job_of_these_types_there_is_none(
        self, repository: JobRepository, task_types: list[str]
    ) -> None:
        repository.add_job(job())

        assert repository.fetch_next_job(task_types) is None

    @pytest.mark.parametrize("status", ["processing", *FINAL])
    def test_a_job_that_was_added_as_started_or_done_is_not_handed_out(
        self, repository: JobRepository, status: str
    ) -> None:
        added = job(status=status, progress=7)
        repository.add_job(added)

        assert repository.fetch_next_job(["resize"]) is None
        assert repository.get_job("job") == added

    def test_task_types_that_are_no_sequence_of_texts_are_refused(
        self, repository: JobRepository
    ) -> None:
        with pytest.raises(InvalidJobError, match="resize"):
            repository.fetch_next_job("resize")

"""What every `JobRepository` does; run it on your own.

Derive a class whose name starts with `Test` from `JobRepositoryConformance`, and give two fixtures:
`repository`, an empty one, and `another_repository`, a second object on the same jobs, as another
process would have it.
"""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.protocols.jobs import JobRepository
from tests.conformance.job_updates import FINAL, JobUpdatesConformance
from tests.support.repositories import at, completed, job, unchecked

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate is no character, and PostgreSQL has no NUL.
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


class JobRepositoryConformance(JobUpdatesConformance):
    """The five verbs, and what several owners may do."""

    # add_job and get_job

    def test_an_added_job_is_kept_as_it_was_given(self, repository: JobRepository) -> None:
        given_job = job(
            "an id 写真", params={"a": [1, {"b": None}]}, output={}, error_message="text\n 🙂"
        )

        assert repository.add_job(given_job, created_by="me", priority=5) is True

        assert repository.get_job("an id 写真") == given_job

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.dictionaries(NAMES, JSON, max_size=3), st.dictionaries(NAMES, JSON, max_size=3))
    def test_any_json_object_comes_back_as_it_was(
        self, repository: JobRepository, params: dict[str, object], output: dict[str, object]
    ) -> None:
        job_id = uuid4().hex
        added = job(job_id, params=params)
        repository.add_job(added)

        assert repository.get_job(job_id) == added
        assert repository.update_job(job_id, completed(output))
        assert repository.get_job(job_id) == job(
            job_id, params=params, output=output, status="completed", progress=100
        )

    def test_a_job_id_that_exists_is_not_added_again(self, repository: JobRepository) -> None:
        first = job(params={"a": 1})
        repository.add_job(first)

        assert repository.add_job(job(params={"a": 2}), priority=9) is False

        assert repository.get_job("job") == first

    def test_a_deleted_job_id_can_be_added_again(self, repository: JobRepository) -> None:
        repository.add_job(job(params={"a": 1}))
        repository.delete_job("job")

        assert repository.add_job(job(params={"a": 2})) is True
        assert repository.get_job("job") == job(params={"a": 2})

    @pytest.mark.parametrize("job_id", ["unknown", "", "a\0b", "\ud800", "x" * 300], ids=ascii)
    def test_an_unknown_job_is_not_found(self, repository: JobRepository, job_id: str) -> None:
        assert repository.get_job(job_id) is None
        assert repository.update_job(job_id, at(5)) is False
        assert repository.update_job(job_id, completed()) is False
        assert repository.delete_job(job_id) is False

    @pytest.mark.parametrize(
        "changed",
        [
            {"job_id": ""},
            {"task_type": "a\0"},
            {"progress": 101},
            {"params": {"x": float("nan")}},
            {"output": {"x": "\0"}},
        ],
        ids=str,
    )
    def test_a_record_that_cannot_be_stored_is_refused_and_not_stored(
        self, repository: JobRepository, changed: dict[str, object]
    ) -> None:
        bad = unchecked(**changed)

        with pytest.raises(InvalidJobError):
            repository.add_job(bad)

        assert repository.get_job(bad.job_id) is None
        assert repository.fetch_next_job([bad.task_type, "resize"]) is None

    @pytest.mark.parametrize("priority", [2**63, -(2**63) - 1])
    def test_a_priority_beyond_64_bits_is_refused(
        self, repository: JobRepository, priority: int
    ) -> None:
        with pytest.raises(InvalidJobError):
            repository.add_job(job(), priority=priority)

        assert repository.get_job("job") is None

    # fetch_next_job

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

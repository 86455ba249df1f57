"""What every job repository does: the suite for your own.

The five verbs stand in three files: adding here, claiming in `job_claims`, the rest in
`job_updates`.
"""

from uuid import uuid4

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.protocols.jobs import JobRepository
from cl_server_shared.testing.job_claims import JobClaimsConformance
from cl_server_shared.testing.job_updates import JobUpdatesConformance
from cl_server_shared.testing.records import at, completed, job, unchecked

_ODD_OBJECTS: dict[str, dict[str, object]] = {
    "empty": {},
    "nested": {"": None, " ": [], "null": "null", "nested": {"a": [{"b": [[]]}, {}]}},
    "numbers": {"n": [0, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.1, -1.5e300, 5e-324, 1e16]},
    "truths": {"truths": [True, False, 1, 0, "1", "true"]},
    "texts": {"": ["", '"', "\\", '\\"', "{a,b}", "it's", "%s %(a)s", "é漢😀", "\x01\x7f\n\u2028"]},
    "keys": {"é 漢": 0, '"': 1, "a.b": 2, "$": 3, "x" * 300: 4},
}


class JobRepositoryConformance(JobClaimsConformance, JobUpdatesConformance):
    """What a `JobRepository` does, whatever it keeps its jobs in.

    Derive a class whose name starts with `Test`, with a fixture `repository` that gives an empty
    one. A fixture `another_repository`, a second object on the same jobs as another process would
    have it, lets the tests run that need two owners; without it they are skipped.
    """

    @pytest.fixture
    def another_repository(self) -> JobRepository:
        """Give what stands in for another process."""
        pytest.skip("there is no fixture another_repository: a second object on the same jobs")

    # add_job and get_job

    def test_an_added_job_is_kept_as_it_was_given(self, repository: JobRepository) -> None:
        given_job = job(
            "an id 写真", params={"a": [1, {"b": None}]}, output={}, error_message="text\n 🙂"
        )

        assert repository.add_job(given_job, created_by="me", priority=5) is True

        assert repository.get_job("an id 写真") == given_job

    @pytest.mark.parametrize("kind", _ODD_OBJECTS)
    def test_a_json_object_comes_back_as_it_was(self, repository: JobRepository, kind: str) -> None:
        value = _ODD_OBJECTS[kind]
        check_a_round_trip(repository, params=value, output=value)

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


def check_a_round_trip(
    repository: JobRepository, *, params: dict[str, object], output: dict[str, object]
) -> None:
    """Add and complete a job, and compare what the repository gives back.

    Raises:
        AssertionError: it gave back something else.
    """
    job_id = uuid4().hex
    added = job(job_id, params=params)
    repository.add_job(added)

    assert repository.get_job(job_id) == added
    assert repository.update_job(job_id, completed(output))
    assert repository.get_job(job_id) == job(
        job_id, params=params, output=output, status="completed", progress=100
    )

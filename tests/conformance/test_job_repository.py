"""The suite of the port on every database, and what the seed's own tests relied on."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import Engine

from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobRecordUpdate, JobStatus
from cl_server_shared.testing import JobManagementConformance
from cl_server_shared.testing.job_repository import check_a_round_trip
from tests.support.examples import examples
from tests.support.repositories import (
    NOON,
    ManualClock,
    completed,
    failed,
    job,
    repository_on,
    row_of,
)

pytest_plugins = ["tests.support.databases"]

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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def repository(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock)


@pytest.fixture
def another_repository(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock)


class TestSqlJobRepository(JobManagementConformance):
    """On an SQLite file, on SQLite in memory, on PostgreSQL; the clock is the system's."""

    @pytest.fixture
    def repository(self, engine: Engine) -> SqlJobRepository:
        return repository_on(engine)

    @pytest.fixture
    def another_repository(self, engine: Engine) -> SqlJobRepository:
        return repository_on(engine)

    @examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.dictionaries(NAMES, JSON, max_size=3), st.dictionaries(NAMES, JSON, max_size=3))
    def test_any_json_object_comes_back_as_it_was(
        self, repository: SqlJobRepository, params: dict[str, object], output: dict[str, object]
    ) -> None:
        check_a_round_trip(repository, params=params, output=output)


class TestWhatTheSeedsTestsRelyOn:
    """Semantics of the original that consumers' suites assert."""

    def test_a_new_row_holds_who_made_it_and_when(
        self, repository: SqlJobRepository, engine: Engine
    ) -> None:
        repository.add_job(job(), created_by="user123", priority=5)

        row = row_of(engine, "job")
        assert {name: row[name] for name in ("created_by", "priority", "created_at")} == {
            "created_by": "user123",
            "priority": 5,
            "created_at": NOON,
        }
        assert (row["started_at"], row["completed_at"], row["retry_count"]) == (None, None, 0)
        assert row["max_retries"] == 3

    def test_times_follow_the_life_of_a_job(
        self, repository: SqlJobRepository, engine: Engine, clock: ManualClock
    ) -> None:
        repository.add_job(job())
        clock.advance(1)
        repository.fetch_next_job(["resize"])
        clock.advance(1)
        repository.update_job("job", completed())

        row = row_of(engine, "job")
        times = ("created_at", "started_at", "completed_at", "updated_at")
        assert [row[name] for name in times] == [NOON, NOON + 1000, NOON + 2000, NOON + 2000]

    def test_taking_up_a_job_twice_keeps_its_start(
        self, repository: SqlJobRepository, engine: Engine, clock: ManualClock
    ) -> None:
        repository.add_job(job())
        taken_up = JobRecordUpdate(status=JobStatus.processing)
        assert repository.update_job("job", taken_up)
        clock.advance(1)
        assert repository.update_job("job", taken_up)

        assert row_of(engine, "job")["started_at"] == NOON

    def test_a_job_taken_up_by_hand_is_nobodys_claim(
        self, repository: SqlJobRepository, clock: ManualClock
    ) -> None:
        repository.add_job(job("by update"))
        repository.update_job("by update", JobRecordUpdate(status=JobStatus.processing))
        repository.add_job(job("by add", status="processing"))
        clock.advance(1e6)

        assert repository.fetch_next_job(["resize"]) is None
        assert repository.recover_expired() == 0

    def test_an_error_of_a_job_that_was_never_claimed_is_final(
        self, repository: SqlJobRepository, engine: Engine
    ) -> None:
        repository.add_job(job())
        repository.update_job("job", failed("boom"))

        row = row_of(engine, "job")
        assert (row["status"], row["error_message"], row["completed_at"]) == ("error", "boom", NOON)

    def test_two_objects_on_one_engine_see_each_others_jobs(
        self, repository: SqlJobRepository, another_repository: SqlJobRepository
    ) -> None:
        repository.add_job(job())

        claimed = another_repository.fetch_next_job(["resize"])

        assert claimed is not None
        assert another_repository.update_job(claimed.job_id, completed({"ok": True}))
        assert repository.get_job("job") == job(
            status="completed", progress=100, output={"ok": True}
        )

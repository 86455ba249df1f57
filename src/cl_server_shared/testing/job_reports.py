"""What every repository tells of changes and failures; part of `JobManagementConformance`."""

import time

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobStatus
from cl_server_shared.models.outcome import Applied, NotFound, Outcome, Refusal, Refused, Unchanged
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.records import at, completed, failed, job

_RESIZE = ["resize"]
_SOON_SECONDS = 10.0


class JobReportsConformance:
    """Outcomes of changes, and failures that a worker knows more about."""

    def test_an_outcome_tells_what_became_of_a_change(self, repository: JobManagement) -> None:
        repository.add_job(job())
        repository.fetch_next_job(_RESIZE)

        assert isinstance(repository.apply_update("job", at(50)), Applied)
        assert why_refused(repository.apply_update("job", at(40))) is Refusal.behind
        assert isinstance(repository.apply_update("job", completed()), Applied)
        assert isinstance(repository.apply_update("job", completed()), Unchanged)
        assert why_refused(repository.apply_update("job", failed())) is Refusal.final
        assert isinstance(repository.apply_update("unknown", at(1)), NotFound)

    def test_a_failure_that_is_permanent_is_not_tried_again(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job(), max_retries=5)
        repository.fetch_next_job(_RESIZE)

        assert repository.fail_job("job", "no such format", is_permanent=True) is True

        assert repository.get_job("job") == job(status="error", error_message="no such format")
        assert repository.fetch_next_job(_RESIZE) is None

    def test_a_failure_may_be_tried_again_at_once_or_late(self, repository: JobManagement) -> None:
        for job_id in ("late", "now"):
            repository.add_job(job(job_id), max_retries=5)
        assert len(repository.fetch_next_jobs(_RESIZE, 2)) == 2

        assert repository.fail_job("late", "busy", retry_after_seconds=3600) is True
        assert repository.fail_job("now", "busy", retry_after_seconds=0) is True

        claimed = repository.fetch_next_jobs(_RESIZE, 2)
        assert [each.job_id for each in claimed] == ["now"]
        assert [attempt.error for attempt in repository.attempts("late")] == ["busy"]

    def test_a_failure_ends_a_job_whose_tries_are_used_up(self, repository: JobManagement) -> None:
        repository.add_job(job(), max_retries=1)
        for _ in range(2):
            assert repository.fetch_next_job(_RESIZE) is not None
            assert repository.fail_job("job", "boom", retry_after_seconds=0) is True

        found = repository.get_job("job")
        assert found is not None
        assert (found.status, found.error_message) == (JobStatus.error, "boom")

    def test_a_failure_of_no_job_or_a_final_one_is_not_stored(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job(status="completed"))

        assert repository.fail_job("job", "late") is False
        assert repository.fail_job("unknown", "boom") is False

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5"])
    def test_no_delay_of_a_next_try_is_refused(
        self, repository: JobManagement, seconds: float
    ) -> None:
        repository.add_job(job())
        repository.fetch_next_job(_RESIZE)

        with pytest.raises(InvalidJobError, match="retry_after_seconds"):
            repository.fail_job("job", "boom", retry_after_seconds=seconds)
        assert repository.get_job("job") == job(status="processing")

    @pytest.mark.parametrize("retries", [-1, True, 2**31])
    def test_tries_below_none_are_refused(self, repository: JobManagement, retries: int) -> None:
        with pytest.raises(InvalidJobError, match="max_retries"):
            repository.add_job(job(), max_retries=retries)
        assert repository.get_job("job") is None

    def test_no_task_type_is_nothing_to_claim_and_nothing_to_wait_for(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job())

        assert repository.fetch_next_job([]) is None
        assert repository.fetch_next_jobs([], 5) == []
        began_at = time.monotonic()
        assert repository.wait_for_work([], 2 * _SOON_SECONDS) is False
        assert time.monotonic() - began_at < _SOON_SECONDS


def why_refused(outcome: Outcome) -> Refusal | None:
    """Return why a change was refused; None: it was not."""
    return outcome.refusal if isinstance(outcome, Refused) and outcome.reason else None

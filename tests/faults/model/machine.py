"""Real repositories and the model of a job's life, driven side by side, step by step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final, override

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cl_server_shared.errors import JobCancelled, JobLost
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobFilter, JobRecord, JobStatus
from tests.faults.in_process_environment import LEASE_SECONDS, InProcessEnvironment, Worker
from tests.faults.model import strategies
from tests.faults.model.comparison import (
    all_found,
    by_job,
    plain,
    record_of,
    rows_of,
    shown,
    update_of,
)
from tests.faults.model.reference import (
    Answer,
    ModelJob,
    ModelJobs,
    Output,
    Report,
    Told,
)


class JobsMachine(RuleBasedStateMachine):
    """Three workers on one database; a subclass says on which, and counts what happened."""

    engine: ClassVar[Engine]
    counts: ClassVar[Counter[str]]
    whole: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.environment: Final = InProcessEnvironment(self.engine)
        self.environment.clear()
        self.model: Final = ModelJobs(self.environment.clock.now_ms())
        self.last_seq: Final[dict[str, int]] = {}
        self._workers: Final[dict[str, Worker]] = {}
        for name in strategies.NAMES:
            self._start(name)
        self.steps: int = 0

    @override
    def teardown(self) -> None:
        self.counts["steps"] += self.steps
        self.counts["whole sequences"] += self.steps >= self.whole
        self.counts["leases that ran out"] += self.model.recovered

    @initialize(jobs=st.lists(strategies.NEW_JOBS, min_size=2, max_size=4))
    def begin(self, jobs: list[ModelJob]) -> None:
        for job in jobs:
            self.add(strategies.NAMES[0], job)

    @precondition(strategies.has_room)
    @rule(who=strategies.WHO, jobs=st.lists(strategies.NEW_JOBS, min_size=1, max_size=3))
    def add_some(self, who: str, jobs: list[ModelJob]) -> None:
        if len(jobs) == 1:
            self.add(who, jobs[0])
        else:
            self.add_many(who, jobs)

    def add(self, who: str, job: ModelJob) -> None:
        added = self._jobs(who).add_job(
            record_of(job), "ada", job.priority, max_retries=job.max_retries
        )
        self._same(added, self.model.add(who, self._new(job)))

    def add_many(self, who: str, jobs: list[ModelJob]) -> None:
        added = self._jobs(who).add_jobs([record_of(job) for job in jobs])
        self._same(added, [self.model.add(who, self._new(plain(job))) for job in jobs])

    @precondition(strategies.has_room)
    @rule(who=strategies.WHO, job=strategies.NEW_JOBS, commits=st.booleans())
    def add_in_session(self, who: str, job: ModelJob, *, commits: bool) -> None:
        with Session(self.engine) as session:
            added = self._jobs(who).add_job(record_of(job), session=session)
            self._same(self.environment.take_events(), [])
            if commits:
                session.commit()
        if commits:
            self._same(added, self.model.add(who, self._new(plain(job))))
        else:
            self._same(added, job.job_id not in self.model.jobs)

    @precondition(strategies.has_work)
    @rule(who=strategies.WHO, task_types=strategies.TYPES)
    def fetch_one(self, who: str, task_types: list[str]) -> None:
        found = self._jobs(who).fetch_next_job(task_types)
        self._claimed(who, task_types, 1, [] if found is None else [found])

    @precondition(strategies.has_work)
    @rule(who=strategies.WHO, task_types=strategies.TYPES, limit=st.integers(1, 3))
    def fetch_many(self, who: str, task_types: list[str], limit: int) -> None:
        found = self._jobs(who).fetch_next_jobs(task_types, limit)
        self._claimed(who, task_types, limit, found)

    @precondition(strategies.has_jobs)
    @rule(who=strategies.REPORTER, job_id=strategies.ANY_JOB, report=strategies.REPORTS)
    def update(self, who: str, job_id: str, report: Report) -> None:
        self._report(who, job_id, report)

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.REPORTER, job_id=strategies.ANY_JOB, progress=strategies.PROGRESS)
    def progress(self, who: str, job_id: str, progress: int) -> None:
        self._report(who, job_id, Report(progress=progress))

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.REPORTER, job_id=strategies.ANY_JOB, output=strategies.OUTPUTS)
    def complete(self, who: str, job_id: str, output: Output) -> None:
        self._report(who, job_id, Report("completed", 100, output))

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.REPORTER, job_id=strategies.ANY_JOB, error=strategies.ERRORS)
    def fail(self, who: str, job_id: str, error: str | None) -> None:
        self._report(who, job_id, Report("error", error_message=error))

    @precondition(strategies.has_running_jobs)
    @rule(
        who=strategies.REPORTER,
        reports=st.dictionaries(strategies.ANY_ID, strategies.REPORTS, min_size=2),
    )
    def finish_many(self, who: str, reports: dict[str, Report]) -> None:
        who, _ = self._pair(who, next(iter(reports)))
        updates = {job_id: update_of(report) for job_id, report in reports.items()}
        expected = {
            job_id: self.model.update(who, job_id, report) is True
            for job_id, report in reports.items()
        }
        self._same(self._jobs(who).finish_jobs(updates), expected)

    @precondition(strategies.has_jobs)
    @rule(who=strategies.WHO, job_id=strategies.ANY_JOB, reason=strategies.REASONS)
    def cancel(self, who: str, job_id: str, reason: str) -> None:
        chosen = self._chosen(job_id)
        cancelled = self._jobs(who).cancel_job(chosen, reason)
        self._same(cancelled, self.model.cancel(chosen, reason))

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.WHO, job_id=strategies.ANY_JOB)
    def release(self, who: str, job_id: str) -> None:
        chosen = self._chosen(job_id)
        self._same(self._jobs(who).release_job(chosen), self.model.release(who, chosen))

    @precondition(strategies.has_ended_jobs)
    @rule(who=strategies.WHO, job_id=strategies.ANY_ID)
    def retry(self, who: str, job_id: str) -> None:
        self._same(self._jobs(who).retry_job(job_id), self.model.retry(job_id))

    @precondition(strategies.has_all_jobs)
    @rule(who=strategies.WHO, job_id=strategies.ANY_ID)
    def delete(self, who: str, job_id: str) -> None:
        self._same(self._jobs(who).delete_job(job_id), self.model.delete(who, job_id))
        self.last_seq.pop(job_id, None)

    @precondition(strategies.has_ended_jobs)
    @rule(who=strategies.WHO, age_ms=strategies.AGES_MS)
    def purge(self, who: str, age_ms: int) -> None:
        without_files: list[str] = []
        before_ms = self.environment.clock.now_ms() - age_ms
        purged = self._jobs(who).purge_finished(before_ms, 100, without_files.append)
        self._same(without_files, purged)
        self._same(sorted(purged), sorted(self.model.purge(who, before_ms)))
        for job_id in purged:
            self.last_seq.pop(job_id, None)

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.WHO)
    def recover(self, who: str) -> None:
        self._same(self._jobs(who).recover_expired(), self.model.recover())

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.WHO)
    def renew(self, who: str) -> None:
        self._workers[who].leases.renew()
        self.model.renew(who)

    @precondition(strategies.has_running_jobs)
    @rule(who=strategies.WHO)
    def crash(self, who: str) -> None:
        """Its claims are forgotten; their leases run out."""
        self._start(who)

    @rule(seconds=strategies.SECONDS)
    def wait(self, seconds: float) -> None:
        self.environment.clock.advance(seconds)
        self.model.now_ms = self.environment.clock.now_ms()

    @precondition(strategies.has_running_jobs)
    @rule()
    def wait_for_a_whole_lease(self) -> None:
        self.wait(LEASE_SECONDS)

    @precondition(strategies.has_jobs)
    @rule(who=strategies.WHO, job_id=strategies.ANY_ID, statuses=strategies.STATUSES)
    def list_jobs(self, who: str, job_id: str, statuses: set[JobStatus] | None) -> None:
        job, found = self.model.jobs.get(job_id), self._jobs(who).get_job(job_id)
        self._same(None if found is None else shown(found), None if job is None else record_of(job))
        newest_first = sorted(self.model.jobs.values(), key=lambda job: -job.position)
        expected = [job for job in newest_first if statuses is None or job.status in statuses]
        pages = all_found(self._jobs(who), JobFilter(statuses=statuses))
        self._same(list(map(shown, pages)), list(map(record_of, expected)))

    @invariant()
    def every_row_is_as_the_model_says(self) -> None:
        expected = {job_id: job.visible for job_id, job in self.model.jobs.items()}
        assert rows_of(self.engine) == expected
        self.steps += 1

    @invariant()
    def every_change_is_told_once_and_in_order(self) -> None:
        events = self.environment.take_events()
        told = [Told(event.job_id, event.event_type, event.progress) for event in events]
        assert by_job(told) == by_job(self.model.told)
        self.model.told.clear()
        for event in events:
            assert event.seq > self.last_seq.get(event.job_id, 0)
            assert event.timestamp == self.environment.clock.now_ms()
            self.last_seq[event.job_id] = event.seq
            self.counts[f"told {event.event_type}"] += 1

    def _start(self, name: str) -> None:
        self._workers[name] = self.environment.worker(name)
        self.model.crash(name)

    def _jobs(self, who: str) -> SqlJobRepository:
        return self._workers[who].jobs

    def _chosen(self, job_id: str) -> str:
        running = (name for name, job in self.model.jobs.items() if job.lease_ends_at is not None)
        return next(running, strategies.JOB_IDS[0]) if job_id == strategies.RUNNING else job_id

    def _pair(self, reporter: str, job_id: str) -> tuple[str, str]:
        """Resolve who reports on which job."""
        held = self.model.held
        if reporter == strategies.OUSTED:
            return next(self._lost_claims(), (strategies.NAMES[0], job_id))
        if reporter == strategies.HOLDER:
            return next((who for who in held if job_id in held[who]), strategies.NAMES[0]), job_id
        return reporter, job_id

    def _lost_claims(self) -> Iterator[tuple[str, str]]:
        for who, claims in self.model.held.items():
            for job_id, claim in claims.items():
                job = self.model.jobs.get(job_id)
                if job is None or job.claim != claim:
                    yield who, job_id

    def _new(self, job: ModelJob) -> ModelJob:
        ended_at = self.environment.clock.now_ms() if job.is_final else None
        return replace(job, ended_at=ended_at)

    def _report(self, reporter: str, job: str, report: Report) -> None:
        who, job_id = self._pair(reporter, self._chosen(job))
        answer: Answer
        try:
            answer = self._jobs(who).update_job(job_id, update_of(report))
        except (JobLost, JobCancelled) as error:
            answer = type(error)
        self._same(answer, self.model.update(who, job_id, report))
        self.counts[f"report {answer if isinstance(answer, bool) else answer.__name__}"] += 1

    def _claimed(
        self, who: str, task_types: Sequence[str], limit: int, found: list[JobRecord]
    ) -> None:
        expected = self.model.fetch(who, task_types, limit)
        self._same(found, [record_of(job) for job in expected])
        self.counts["claims"] += len(found)

    def _same[T](self, found: T, expected: T) -> None:
        assert found == expected, f"{found!r} instead of {expected!r}"

"""What became of the jobs, from the rows at the end and from what every process noted: pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from cl_server_shared.jobs.job_state import FINAL
from cl_server_shared.models import Job, JobStatus
from tests.faults.journal import Entry, Step
from tests.faults.process_environment import LEASE_SECONDS

_LEASE_NS: Final = LEASE_SECONDS * 0.99e9  # the lease is told by another clock
_REPORTS: Final = frozenset({Step.progress, Step.complete})
_REFUSED: Final = frozenset({"", "False", "lost"})


class Death(NamedTuple):
    """When a process was killed (monotonic), what it was doing, and on which job, if it had one."""

    at_ns: int
    phase: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts; a fault is a broken promise, and every one of them must be 0."""

    jobs: int
    claims: int
    retries: int
    refused: int
    faults: dict[str, int]
    errors: tuple[str, ...]


def findings(rows: Sequence[Job], journals: Sequence[Sequence[Entry]], due_at: int) -> Findings:
    """Compare the rows with the journals.

    Args:
        rows: every row at the end.
        journals: of every process, killed or not.
        due_at: when every job had to be finished, in milliseconds since the epoch.
    """
    claims = claims_of(journals)
    by_id = {row.job_id: row for row in rows}
    noted = [entry for journal in journals for entry in journal]
    added = {entry.job_id for entry in noted if entry.step is Step.added and entry.note == "True"}
    errors = [entry.note for entry in noted if entry.step is Step.failed]
    ends = [entry for entry in noted if entry.step is Step.completed]
    acknowledged = [(end.job_id, end.note) for end in ends if end.note]
    return Findings(
        jobs=len(rows),
        claims=sum(entry.step is Step.claimed for entry in noted),
        retries=sum(row.retry_count for row in rows),
        refused=len(ends) - len(acknowledged),
        faults={
            "acknowledged jobs that are gone": len(added - by_id.keys()),
            "jobs that never ended": sum(row.status not in FINAL for row in rows),
            "completed twice": _doubles(job_id for job_id, _ in acknowledged),
            "acknowledged completions undone": sum(
                _output_of(by_id.get(job_id)) != {"token": token} for job_id, token in acknowledged
            ),
            "unfinished at lease + 1 s": sum(_ended_after(row, due_at) for row in rows),
            "ended as error": sum(row.status == JobStatus.error for row in rows),
            "taken over within the lease": early_takeovers(claims),
            "late writes accepted": late_writes_accepted(claims, journals),
            "errors in a process": len(errors),
        },
        errors=tuple(errors),
    )


class Claim(NamedTuple):
    """When the call that claimed a job began, and when its answer was there."""

    begun_ns: int
    done_ns: int


def claims_of(journals: Sequence[Sequence[Entry]]) -> dict[str, list[Claim]]:
    """Return the claims of each job in the order in which they were given.

    Not in which they were asked for: a call may wait for SQLite's lock while others claim the job,
    lose it and are succeeded by it.
    """
    claims: dict[str, list[Claim]] = {}
    for journal in journals:
        for before, after in pairwise(journal):
            if after.step is Step.claimed:
                claims.setdefault(after.job_id, []).append(Claim(before.at_ns, after.at_ns))
    return {
        job_id: sorted(claimed, key=lambda claim: claim.done_ns)
        for job_id, claimed in claims.items()
    }


def early_takeovers(claims: dict[str, list[Claim]]) -> int:
    """Count claims of jobs that somebody had claimed less than a lease before.

    Of two calls that overlap nobody knows which was first: one that was served and then got no
    processor for a while returns after the one that took its job over.
    """
    return sum(
        claim.done_ns <= following.begun_ns and following.done_ns - claim.begun_ns < _LEASE_NS
        for claimed in claims.values()
        for claim, following in pairwise(claimed)
    )


def late_writes_accepted(
    claims: dict[str, list[Claim]], journals: Sequence[Sequence[Entry]]
) -> int:
    """Count reports that were accepted although another worker had claimed the job before them."""
    return sum(_late_writes_in(journal, claims) for journal in journals)


def _late_writes_in(journal: Sequence[Entry], claims: dict[str, list[Claim]]) -> int:
    late, own_claim_ns = 0, 0
    for before, after in pairwise(journal):
        if before.step is Step.claimed:
            own_claim_ns = before.at_ns
        if before.step in _REPORTS and after.note not in _REFUSED:
            others = claims[before.job_id]
            late += any(own_claim_ns < c.begun_ns and c.done_ns < before.at_ns for c in others)
    return late


def _doubles(job_ids: Iterable[str]) -> int:
    return sum(times > 1 for times in Counter(job_ids).values())


def _output_of(row: Job | None) -> object:
    return row.output if row is not None and row.status == JobStatus.completed else None


def _ended_after(row: Job, due_at: int) -> bool:
    return row.completed_at is None or row.completed_at > due_at


def handovers_seconds(deaths: Sequence[Death], claims: dict[str, list[Claim]]) -> list[float]:
    """Return how long each killed worker's unfinished job waited until another had claimed it."""
    waits = [
        [
            claim.done_ns - death.at_ns
            for claim in claims.get(death.job_id, [])
            if claim.done_ns > death.at_ns
        ]
        for death in deaths
    ]
    return [min(wait) / 1e9 for wait in waits if wait]

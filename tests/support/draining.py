"""Workers that drain a queue while it is filled, and what they saw.

An answer is *wrongly empty* if a job that nobody else had taken waited from before the call until
after it. Both ends are taken strictly, so that no innocent answer is blamed:

- A job had been added if `add_job` returned before the call began: its row was committed. Times are
  those of CLOCK_MONOTONIC, which is one clock for all processes of the machine.
- It still waited if one SQL statement, run right after the answer on a connection of its own, saw
  it `queued` and being taken by nobody. No job of a drain returns to the queue, so it was never
  away. On SQLite there is one writer at a time, and what it took is committed before the next one
  looks. On PostgreSQL a claim holds its row until its commit reached the disk, and other readers
  see `queued` so long: `xmax` tells such a row from one that nobody ever locked.
- Or if the call that claimed it began after the empty answer had come.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, text

from cl_server_shared.database import make_engine
from cl_server_shared.protocols.jobs import JobRepository
from tests.support.repositories import completed, job, repository_on

TASK_TYPES: Final = [f"type {number}" for number in range(4)]
_WAITING: Final = {
    "sqlite": text("SELECT job_id FROM jobs WHERE status = 'queued'"),
    "postgresql": text("SELECT job_id FROM jobs WHERE status = 'queued' AND xmax = '0'::xid"),
}
_TIMEOUT_SECONDS: Final = 60


@dataclass
class EmptyAnswer:
    began_at: int
    ended_at: int
    waiting: list[str]


@dataclass
class DrainRecord:
    """What one worker or adder saw; times in ns."""

    added_at: dict[str, int] = field(default_factory=dict)
    claim_began_at: dict[str, int] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    completed: list[bool] = field(default_factory=list)
    empty: list[EmptyAnswer] = field(default_factory=list)


def add(repository: JobRepository, name: str, number: int) -> DrainRecord:
    """Add jobs one by one, of each task type in turn."""
    seen = DrainRecord()
    for position in range(number):
        job_id = f"{name}-{position}"
        assert repository.add_job(job(job_id, TASK_TYPES[position % len(TASK_TYPES)]))
        seen.added_at[job_id] = time.monotonic_ns()
    return seen


def drain(repository: JobRepository, engine: Engine, last: int) -> DrainRecord:
    """Claim and complete until job number *last* of every adder has come, and nothing waits."""
    seen = DrainRecord()
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        began_at = time.monotonic_ns()
        claimed = repository.fetch_next_job(TASK_TYPES)
        if claimed is None:
            ended_at = time.monotonic_ns()
            waiting = _waiting(engine)
            seen.empty.append(EmptyAnswer(began_at, ended_at, waiting))
            if not waiting and all(repository.get_job(f"{a}-{last}") for a in ADDERS):
                return seen
            time.sleep(0.005)  # as a worker's poll interval does, in small
            continue
        seen.claims.append(claimed.job_id)
        seen.claim_began_at[claimed.job_id] = began_at
        seen.completed.append(repository.update_job(claimed.job_id, completed()))
    raise TimeoutError(f"not drained within {_TIMEOUT_SECONDS} s")


ADDERS: Final = ("adder 1", "adder 2")


def add_in_process(url: str, name: str, number: int) -> DrainRecord:
    return add(repository_on(make_engine(url)), name, number)


def drain_in_process(url: str, last: int) -> DrainRecord:
    engine = make_engine(url)
    return drain(repository_on(engine), engine, last)


def _waiting(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(_WAITING[engine.dialect.name]))


def wrongly_empty(everybody: Iterable[DrainRecord]) -> list[tuple[EmptyAnswer, str]]:
    """Return the empty answers that a job contradicts, with that job."""
    everybody = list(everybody)
    added_at = {job_id: at for seen in everybody for job_id, at in seen.added_at.items()}
    claim_began_at = {
        job_id: at for seen in everybody for job_id, at in seen.claim_began_at.items()
    }
    return [
        (answer, job_id)
        for seen in everybody
        for answer in seen.empty
        for job_id, at in added_at.items()
        if at < answer.began_at
        and (job_id in answer.waiting or claim_began_at[job_id] > answer.ended_at)
    ]


def claimed_more_than_once(everybody: Iterable[DrainRecord]) -> list[str]:
    counted = Counter(job_id for seen in everybody for job_id in seen.claims)
    return [job_id for job_id, times in counted.items() if times > 1]

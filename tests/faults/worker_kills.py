"""Kill workers at random and count what breaks: `python -m tests.faults.worker_kills`.

`--kills` kills on each of `--databases`. A kill counts when it hit a worker that was inside a call
or held a claim; what was hit is printed. After the last one nobody is killed any more, no job is
added, and every job must be finished within the lease + 1 s.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, final, override

from pydantic import BaseModel, PositiveInt
from sqlalchemy import URL, Engine
from sqlmodel import Session, select

from cl_server_shared.database import make_engine
from cl_server_shared.models import Job, JobStatus
from tests.faults.job_assertions import Death, Findings, claims_of, findings, handovers_seconds
from tests.faults.kill_harness import KillHarness
from tests.faults.process_environment import (
    LEASE_SECONDS,
    ProcessEnvironment,
    integrity_of,
    number_of,
)
from tests.support import servers
from tests.support.waiting import wait_until

KINDS: Final = ("sqlite", "sqlite-wal", "postgresql")
_PAUSE_SECONDS: Final = 0.12
_ADDER_KILLED_EVERY: Final = 10
_GRACE_SECONDS: Final = 1
_TIMEOUT_SECONDS: Final = 60


@final
class Arguments(BaseModel):
    """The command line."""

    kills: PositiveInt
    databases: list[str]
    seed: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """What was killed and what became of the jobs."""

    deaths: list[Death]
    handovers_seconds: list[float]
    seconds: float
    integrity: str
    findings: Findings

    @property
    def is_clean(self) -> bool:
        """Tell whether no promise was broken."""
        return self.integrity == "ok" and not any(self.findings.faults.values())

    @override
    def __str__(self) -> str:
        phases = Counter(death.phase for death in self.deaths)
        hits = ", ".join(f"{number} {phase}" for phase, number in sorted(phases.items()))
        found, waits = self.findings, self.handovers_seconds
        attempts = f"{found.claims} claims, {found.retries} retries"
        lines = [
            f"{len(self.deaths)} kills in {self.seconds:.0f} s: {hits}",
            f"{found.jobs} jobs, {attempts}, {found.refused} late completions refused",
            f"{len(waits)} jobs of killed workers claimed again {_longest(waits)}",
            *(f"{number} {fault}" for fault, number in found.faults.items()),
            f"integrity check: {self.integrity}",
            *found.errors,
        ]
        return "\n  ".join(lines)


def _longest(waits: list[float]) -> str:
    if not waits:
        return ""
    typical, longest = median(waits), max(waits)
    return f"{typical:.1f} s (median) to {longest:.1f} s after the kill, lease {LEASE_SECONDS} s"


def kill_workers(
    environment: ProcessEnvironment, kills: int, folder: Path, random: Random
) -> Result:
    """Kill workers at random moments, then wait for all jobs and judge."""
    engine, started = make_engine(environment.url), time.monotonic()
    environment.repository(engine).recover_expired()  # makes the tables
    with KillHarness(environment, folder) as harness:
        deaths = _killed(harness, kills, random)
        last_kill_at = time.time_ns() // 1_000_000
        harness.adder.kill()
        _await_end(engine)
    due_at = last_kill_at + (LEASE_SECONDS + _GRACE_SECONDS) * 1000
    journals = harness.journals()
    with Session(engine) as session:
        found = findings(session.exec(select(Job)).all(), journals, due_at)
    integrity, seconds = integrity_of(engine), time.monotonic() - started
    engine.dispose()
    return Result(deaths, handovers_seconds(deaths, claims_of(journals)), seconds, integrity, found)


def _killed(harness: KillHarness, kills: int, random: Random) -> list[Death]:
    deaths: list[Death] = []
    while len(deaths) < kills:
        time.sleep(random.uniform(0, _PAUSE_SECONDS))
        worker = random.choice(harness.workers)
        if worker.is_at_work() and (death := worker.replace()) is not None:
            deaths.append(death)
        if random.randrange(_ADDER_KILLED_EVERY) == 0:
            harness.adder.replace()
    return deaths


def _await_end(engine: Engine) -> None:
    """Give the jobs time; those that do not use it are counted."""
    try:
        wait_until(
            lambda: number_of(engine, JobStatus.queued, JobStatus.processing) == 0,
            _TIMEOUT_SECONDS,
        )
    except TimeoutError:
        print(f"there are unfinished jobs {_TIMEOUT_SECONDS} s after the last kill")


@contextmanager
def _environment(kind: str, folder: Path) -> Generator[ProcessEnvironment]:
    if kind != "postgresql":
        yield ProcessEnvironment(f"sqlite:///{folder}/jobs.db", sqlite_wal=kind == "sqlite-wal")
        return
    with _postgres() as server, servers.own_database(server) as url:
        yield ProcessEnvironment(url.render_as_string(hide_password=False))


@contextmanager
def _postgres() -> Generator[URL]:
    running = servers.running_postgres()
    if running is not None:
        yield running
        return
    with servers.postgres_process() as started:
        yield started


def main() -> int:
    """Run the command; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="per database")
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=None)
    arguments = Arguments.model_validate(parser.parse_args(), from_attributes=True)
    broken = False
    for kind in arguments.databases:
        with (
            tempfile.TemporaryDirectory() as folder,
            _environment(kind, Path(folder)) as environment,
        ):
            result = kill_workers(
                environment, arguments.kills, Path(folder), Random(arguments.seed)
            )
        print(f"{kind}: {result}", flush=True)
        broken = broken or not result.is_clean
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())

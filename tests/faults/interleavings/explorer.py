"""Runs scenarios in one order after the other, and checks the outcomes against promises."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from sqlalchemy import Dialect, Engine

from cl_server_shared.database import database_of, upgrade
from cl_server_shared.jobs.sql import claims as sql_claims
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.models import JobEvent
from tests.faults.in_process_environment import OPTIONS, InProcessEnvironment
from tests.faults.interleavings.scenarios import Scenario
from tests.faults.interleavings.scheduler import Choose, Run, Scheduler
from tests.faults.interleavings.setup import Setup, state_of

FINAL: Final = {"completed", "error"}

type Outcome = tuple[tuple[object, ...], str]


def outcomes_of(
    scenario: Scenario, engine: Engine, scheduler: Scheduler, schedules: Iterable[Choose]
) -> Counter[Outcome]:
    """Run a scenario in each order; return how often each outcome came.

    Raises:
        AssertionError: a promise was broken.
    """
    upgrade(engine)
    _let_threads_be_processes(engine)
    environment = InProcessEnvironment(engine)
    outcomes: Counter[Outcome] = Counter()
    for choose in schedules:
        outcomes[_run_once(scenario, environment, scheduler, choose)] += 1
    return outcomes


def _let_threads_be_processes(engine: Engine) -> None:
    """Let writers meet in the database: threads of one process would take turns before it."""
    database_of(engine, OPTIONS)._group_commit = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # see above


def _run_once(
    scenario: Scenario, environment: InProcessEnvironment, scheduler: Scheduler, choose: Choose
) -> Outcome:
    environment.clear()
    setup = Setup(
        environment, (environment.worker("0"), environment.worker("1"), environment.worker("2"))
    )
    for action in scenario.before:
        action(setup)
    run = scheduler.run([partial(action, setup) for action in scenario.actions], choose)
    outcome = (run.answers, state_of(setup))
    told = f"{scenario.name}: {outcome} after {_named(run, environment.engine.dialect)}"
    assert outcome in scenario.outcomes, told
    if _renewed_first(run, environment.engine.dialect):
        assert outcome[1] in {"processing", "completed by 0"}, told
    _finish(setup, outcome[1], told)
    return outcome


def _finish(setup: Setup, before: str, told: str) -> None:
    """Let everybody who claimed the job and did not complete it do so: one may, if it runs."""
    winners = [f"completed by {who}" for who in sorted(setup.claimers) if setup.complete(who)]
    after = state_of(setup)
    if before.startswith("processing"):
        assert [after.split(",")[0]] == winners, told
    else:
        assert (after, winners) == (before, []), told
    told_of_job = [event for event in setup.environment.take_events() if event.job_id == "job"]
    _check_events(told_of_job, after, told)


def _check_events(events: Sequence[JobEvent], state: str, told: str) -> None:
    """Each change was told once, in order, and no end follows on an end."""
    for before, after in pairwise(events):
        is_of_new_row = after.seq == 1
        assert is_of_new_row or after.seq == before.seq + 1, told
        assert is_of_new_row or not {before.event_type, after.event_type} <= FINAL, told
    assert state == "gone" or state.startswith(events[-1].event_type), told


def _renewed_first(run: Run, dialect: Dialect) -> bool:
    """Tell whether a lease was renewed before anybody took the job over."""
    renewal = sql_claims.RENEW.compiled(dialect).text
    ran = [sql for _, sql in run.trace if sql == renewal or _is_takeover(sql)]
    return ran[:1] == [renewal]


def _is_takeover(sql: str) -> bool:
    return sql.startswith("UPDATE") and "lease_expires_at <=" in sql


def _named(run: Run, dialect: Dialect) -> str:
    """Name the statements that were run, each behind the number of its caller."""
    names = {
        statement.compiled(dialect).text: statement.name
        for statement in (
            sql_claims.CLAIM_OF_TYPE,
            sql_claims.DUE,
            sql_claims.EXPIRED,
            sql_rows.READ,
            sql_claims.RENEW,
        )
    }
    return "; ".join(f"{who}: {names.get(sql, sql[:20])}" for who, sql in run.trace)

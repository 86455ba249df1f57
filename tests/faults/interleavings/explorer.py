"""Plays scenes in one order after the other, and holds what comes of them against promises."""

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
from tests.faults.in_process_environment import OPTIONS, World
from tests.faults.interleavings.scenarios import Scene
from tests.faults.interleavings.scheduler import Choose, Play, Turns
from tests.faults.interleavings.setup import Stage, state_of

FINAL: Final = {"completed", "error"}

type Outcome = tuple[tuple[object, ...], str]


def outcomes_of(
    scene: Scene, engine: Engine, turns: Turns, orders: Iterable[Choose]
) -> Counter[Outcome]:
    """Play a scene in each order; return how often what came of it.

    Raises:
        AssertionError: a promise was broken.
    """
    upgrade(engine)
    _let_threads_be_processes(engine)
    world = World(engine)
    outcomes: Counter[Outcome] = Counter()
    for choose in orders:
        outcomes[_play(scene, world, turns, choose)] += 1
    return outcomes


def _let_threads_be_processes(engine: Engine) -> None:
    """Let writers meet in the database: threads of one process would take turns before it."""
    database_of(engine, OPTIONS)._group_commit = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # see above


def _play(scene: Scene, world: World, turns: Turns, choose: Choose) -> Outcome:
    world.clear()
    stage = Stage(world, (world.worker("0"), world.worker("1"), world.worker("2")))
    for does in scene.before:
        does(stage)
    play = turns.play([partial(does, stage) for does in scene.acts], choose)
    outcome = (play.answers, state_of(stage))
    told = f"{scene.name}: {outcome} after {_named(play, world.engine.dialect)}"
    assert outcome in scene.outcomes, told
    if _renewed_first(play, world.engine.dialect):
        assert outcome[1] in {"processing", "completed by 0"}, told
    _finish(stage, outcome[1], told)
    return outcome


def _finish(stage: Stage, before: str, told: str) -> None:
    """Let everybody who claimed the job and did not complete it do so: one may, if it runs."""
    winners = [f"completed by {who}" for who in sorted(stage.claimers) if stage.complete(who)]
    after = state_of(stage)
    if before.startswith("processing"):
        assert [after.split(",")[0]] == winners, told
    else:
        assert (after, winners) == (before, []), told
    told_of_job = [event for event in stage.world.take_events() if event.job_id == "job"]
    _check_events(told_of_job, after, told)


def _check_events(events: Sequence[JobEvent], state: str, told: str) -> None:
    """Each change was told once, in order, and no end follows on an end."""
    for before, after in pairwise(events):
        is_of_new_row = after.seq == 1
        assert is_of_new_row or after.seq == before.seq + 1, told
        assert is_of_new_row or not {before.event_type, after.event_type} <= FINAL, told
    assert state == "gone" or state.startswith(events[-1].event_type), told


def _renewed_first(play: Play, dialect: Dialect) -> bool:
    """Tell whether a lease was renewed before anybody took the job over."""
    renewal = sql_claims.RENEW.compiled(dialect).text
    ran = [sql for _, sql in play.trace if sql == renewal or _is_takeover(sql)]
    return ran[:1] == [renewal]


def _is_takeover(sql: str) -> bool:
    return sql.startswith("UPDATE") and "lease_expires_at <=" in sql


def _named(play: Play, dialect: Dialect) -> str:
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
    return "; ".join(f"{who}: {names.get(sql, sql[:20])}" for who, sql in play.trace)

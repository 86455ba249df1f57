"""Another process holds SQLite's write lock for 12 s; sqlite3 itself gives up after 5 s."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from cl_server_shared.database import make_engine
from tests.faults.lock_holder import Waited, hold_lock, write_meanwhile
from tests.faults.process_environment import ProcessEnvironment
from tests.support.processes import Child, child
from tests.support.repositories import row_of
from tests.support.waiting import wait_until

HELD_SECONDS = 12
GIVEN_UP_AFTER_SECONDS = 5


def endure(environments: dict[str, ProcessEnvironment], folder: Path) -> dict[str, Waited]:
    """Let a worker write while the lock is held: at the same time on several databases."""
    with ExitStack() as stack:
        workers: dict[str, Child[Waited]] = {}
        for name, environment in environments.items():
            ready, held = folder / f"{name}.ready", folder / f"{name}.held"
            run = partial(write_meanwhile, environment, ready, held)
            workers[name] = stack.enter_context(child(run))
            wait_until(ready.exists)
            stack.enter_context(child(partial(hold_lock, environment, HELD_SECONDS, held)))
        return {name: worker.result() for name, worker in workers.items()}


def test_what_is_written_while_another_holds_the_lock_is_stored_once_it_is_free(
    tmp_path: Path,
) -> None:
    environments = {
        name: ProcessEnvironment(
            f"sqlite:///{tmp_path}/{name}.db", sqlite_wal=name == "wal", lease_seconds=30
        )
        for name in ("wal", "no wal")
    }
    for name, waited in endure(environments, tmp_path).items():
        print(f"\n{name}: {waited.seconds}")
        assert waited.returned == {"complete": True, "report": True, "add": True}
        assert min(waited.seconds.values()) > GIVEN_UP_AFTER_SECONDS
        assert sorted(waited.events) == [
            ("done", "completed"),
            ("half done", "processing"),
            ("new", "queued"),
        ]
        all_is_stored(make_engine(environments[name].url))


def all_is_stored(engine: Engine) -> None:
    columns = ("status", "progress", "retry_count")
    rows = {job_id: row_of(engine, job_id) for job_id in ("done", "half done", "new")}
    engine.dispose()

    assert {job_id: tuple(row[c] for c in columns) for job_id, row in rows.items()} == {
        "done": ("completed", 100, 0),
        "half done": ("processing", 50, 0),
        "new": ("queued", 0, 0),
    }

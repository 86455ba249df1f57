"""The other libraries, by the database that they use."""

from functools import partial

from tests.benchmarks.ours import BATCH
from tests.benchmarks.peers.dbos_queue import Dbos
from tests.benchmarks.peers.huey_queue import Huey
from tests.benchmarks.peers.litequeue_queue import Litequeue
from tests.benchmarks.peers.loading import with_version
from tests.benchmarks.peers.oban_queue import Oban
from tests.benchmarks.peers.persist_queue import PersistQueue
from tests.benchmarks.peers.pgqueuer_queue import Pgqueuer
from tests.benchmarks.peers.procrastinate_queue import Procrastinate
from tests.benchmarks.queues import Kind


def on_sqlite(synchronous: str) -> list[Kind]:
    """Return what runs on SQLite with WAL and this `synchronous`."""
    durability = f"WAL, synchronous={synchronous}"
    huey = Kind(
        name="huey",
        how=f"{durability}; the row goes when the task starts",
        open=partial(Huey, synchronous=synchronous),
    )
    persist = Kind(
        name="persist-queue", how=durability, open=partial(PersistQueue, synchronous=synchronous)
    )
    return [with_version(huey, "huey"), with_version(persist, "persist-queue")]


def on_sqlite_normal() -> list[Kind]:
    """Return what runs on SQLite with WAL and synchronous=NORMAL."""
    litequeue = Kind(name="litequeue", how="WAL, synchronous=NORMAL", open=Litequeue)
    dbos = Kind(name="dbos", how="its own settings", open=Dbos)
    return [
        with_version(litequeue, "litequeue"),
        *on_sqlite("NORMAL"),
        with_version(dbos, "dbos"),
    ]


def on_postgres() -> list[Kind]:
    """Return what runs on PostgreSQL, one job a call."""
    return [
        with_version(
            Kind(name="procrastinate", how="worker with concurrency 1", open=Procrastinate),
            "procrastinate",
        ),
        with_version(Kind(name="pgqueuer", how="asyncpg, batch 1", open=Pgqueuer), "pgqueuer"),
        with_version(Kind(name="oban", how="one queue, limit 1", open=Oban), "oban"),
        with_version(Kind(name="dbos", how="a queue, workflows of no step", open=Dbos), "dbos"),
    ]


def on_postgres_in_batches() -> list[Kind]:
    """Return what runs on PostgreSQL, a hundred jobs a call."""
    return [
        with_version(
            Kind(
                name="procrastinate",
                how="batch_defer, worker with concurrency 1",
                open=partial(Procrastinate, in_batches=True),
            ),
            "procrastinate",
        ),
        with_version(
            Kind(name="pgqueuer", how="asyncpg, batch 100", open=partial(Pgqueuer, batch=BATCH)),
            "pgqueuer",
        ),
        with_version(
            Kind(
                name="oban",
                how="enqueue_many, one queue, limit 100",
                open=partial(Oban, batch=BATCH),
            ),
            "oban",
        ),
    ]

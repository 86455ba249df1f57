"""Where contestants keep their jobs: each in a database of its own, all on the same disk."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support import servers

type MakeDatabase = Callable[[], str]
"""Makes an empty database and returns its URL."""


def folder(stack: ExitStack) -> Path:
    """Make a folder on a disk: `/tmp` may be memory, `/var/tmp` survives a restart (FHS 5.15)."""
    made = tempfile.TemporaryDirectory(prefix="cl-benchmark-", dir="/var/tmp")
    return Path(stack.enter_context(made))


def sqlite_databases(stack: ExitStack) -> MakeDatabase:
    """Make SQLite databases, one file each."""
    parent, made = folder(stack), iter(range(1_000))
    return lambda: f"sqlite:///{parent}/{next(made)}.db"


def postgres_databases(stack: ExitStack) -> MakeDatabase:
    """Make databases on the running PostgreSQL, or on one that is started for the benchmark."""
    server = servers.running_postgres() or stack.enter_context(servers.postgres_process())

    def make() -> str:
        database = stack.enter_context(servers.own_database(server))
        return database.render_as_string(hide_password=False)

    return make


def broker(stack: ExitStack) -> servers.Address:
    """Return the running MQTT broker, or one that is started for the benchmark."""
    return servers.running_broker() or stack.enter_context(servers.broker_process()).address

"""An empty database of each kind, for commands: tests have fixtures."""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from tests.support import servers


@contextmanager
def both_databases() -> Generator[dict[str, str]]:
    """Give a URL for SQLite and one for PostgreSQL; both databases are gone afterwards."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cl-proof-"))
        server = servers.running_postgres() or stack.enter_context(servers.postgres_process())
        postgres = stack.enter_context(servers.own_database(server))
        yield {
            "SQLite": f"sqlite:///{folder}/jobs.db",
            "PostgreSQL": postgres.render_as_string(hide_password=False),
        }

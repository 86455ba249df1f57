"""The `Database` of each engine."""

import threading
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from cl_server_shared.database.database import Database
from cl_server_shared.database.engine import DatabaseOptions

# Repositories are built per request, their engine once: what is expensive belongs to the engine.
_DATABASES: Final[WeakKeyDictionary[Engine, Database]] = WeakKeyDictionary()
_LOCK: Final = threading.Lock()


def database_of(engine: Engine, options: DatabaseOptions) -> Database:
    """Return the process's one `Database` for *engine*; the first caller's options hold.

    Raises:
        DatabaseError: the database cannot be used with this library.
    """
    with _LOCK:
        found = _DATABASES.get(engine)
        if found is None:
            found = _DATABASES[engine] = Database(engine, options)
        return found

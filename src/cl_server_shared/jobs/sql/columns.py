"""What several statements say in the same words."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy.dialects import postgresql

from cl_server_shared.database import JOBS
from cl_server_shared.jobs.rows import ROW_COLUMNS

JSON_COLUMNS: Final = frozenset({"params", "output"})

WAITING: Final = "status = 'queued' AND available_at IS NULL"
"""The condition of the partial index `ix_jobs_waiting`."""
CLAIM_ORDER: Final = "priority DESC, id"
"""Who is served first: the highest priority, then the oldest."""
STILL_UNANNOUNCED: Final = "unannounced_at = coalesce(jobs.unannounced_at, :unannounced_at)"
"""The new state is to be announced; since when the job is unannounced stays as it was."""


def readable(names: Iterable[str]) -> str:
    """List columns to read, JSON as text."""
    return ", ".join(
        f"CAST({name} AS TEXT) AS {name}" if name in JSON_COLUMNS else name for name in names
    )


ROW: Final = readable(ROW_COLUMNS)
"""What a `JobRow` is made of, in its order."""


def parameter(name: str, dialect: str) -> str:
    """Bind the value of a column; JSON comes as text, so that a row is encoded once."""
    # Differs because SQLite has no such type: its CAST would make a number of the text.
    is_cast = name in JSON_COLUMNS and dialect == "postgresql"
    return f"CAST(:{name} AS JSON)" if is_cast else f":{name}"


def texts(name: str, dialect: str) -> str:
    """Read the texts of the JSON array parameter *name* as rows of a table of that name.

    Its one column is `value`. The same SQL serves any number of values, which a list of parameters
    would not.
    """
    # Differs because each has a function of its own for this.
    if dialect == "sqlite":
        return f"json_each(:{name}) AS {name}"
    return f"json_array_elements_text(CAST(:{name} AS JSON)) AS {name}(value)"


def locked(dialect: str, *, key: bool = False) -> str:
    """Lock the rows of a SELECT, without those that somebody else is changing.

    Args:
        dialect: only PostgreSQL locks rows.
        key: whether rows of other tables that refer to a job hide it, as they must from a DELETE.
    """
    # Differs because SQLite has one lock, for the whole database.
    if dialect == "sqlite":
        return ""
    return "FOR UPDATE SKIP LOCKED" if key else "FOR NO KEY UPDATE SKIP LOCKED"


def type_of(column: str) -> str:
    """Return the name of a column's type on PostgreSQL."""
    return JOBS.c[column].type.compile(postgresql.dialect())

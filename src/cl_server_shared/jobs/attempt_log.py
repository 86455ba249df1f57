"""The log of the attempts at a job that failed, kept on the job as JSON text.

It is read by people, and only rarely by us: a job's state carries the text as it is.
"""

import json
from typing import Final

from pydantic import TypeAdapter, ValidationError

from cl_server_shared.models import Attempt

KEPT: Final = 100
_ENTRIES: Final = TypeAdapter(list[Attempt])


def logged_attempts(log: str | None) -> tuple[Attempt, ...]:
    """Return the failed attempts, oldest first; none where the stored text is not ours."""
    if log is None:
        return ()
    try:
        return tuple(_ENTRIES.validate_json(log))
    except ValidationError:
        return ()


def with_one_more(log: str | None, attempt: Attempt) -> str:
    """Return the log with *attempt* at its end, of the latest 100 attempts."""
    kept = (*logged_attempts(log), attempt)[-KEPT:]
    return json.dumps([entry.model_dump() for entry in kept], separators=(",", ":"))

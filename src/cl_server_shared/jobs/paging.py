"""Finding jobs page by page: a page begins where the last one ended, however many came since."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobFilter

_SIGNATURE_BYTES: Final = 6
_ID_BYTES: Final = 8


def conditions_of(jobs: JobFilter) -> dict[str, object]:
    """Return the values that a filter asks for, by the names of `find_statement`."""
    values = {
        "statuses": _texts(jobs.statuses),
        "task_types": _texts(jobs.task_types),
        "created_by": jobs.created_by,
        "created_from": jobs.created_from,
        "created_before": jobs.created_before,
    }
    return {name: value for name, value in values.items() if value is not None}


def page_token(conditions: dict[str, object], last_id: int) -> str:
    """Return the token of the page behind the job with this row id."""
    position = last_id.to_bytes(_ID_BYTES)
    return urlsafe_b64encode(position + _signature(conditions, position)).decode()


def position_of(conditions: dict[str, object], token: str) -> int:
    """Return the row id behind which a page begins.

    Raises:
        InvalidJobError: the token is not one that was given out for this filter.
    """
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        raw = b""
    position, signature = raw[:_ID_BYTES], raw[_ID_BYTES:]
    if signature != _signature(conditions, position):
        raise InvalidJobError(
            f"page token {token!r} does not belong to this filter: pass on `JobPage.next` unchanged"
        )
    return int.from_bytes(position)


def _texts(values: Collection[str] | None) -> str | None:
    return None if values is None else json.dumps(sorted(values))


def _signature(conditions: dict[str, object], position: bytes) -> bytes:
    """Tie a token to its filter: a guard against mistakes, not against attackers."""
    asked = json.dumps(conditions, sort_keys=True).encode()
    return blake2b(position + asked, digest_size=_SIGNATURE_BYTES).digest()

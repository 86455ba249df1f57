"""Finding jobs page by page: a page begins where the last one ended, however many came since."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import fields
from hashlib import blake2b
from typing import Final, cast

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobFilter
from cl_server_shared.models.job import storable_text

_SIGNATURE_BYTES: Final = 6
_ID_BYTES: Final = 8


def conditions_of(jobs: JobFilter) -> dict[str, object]:
    """Return the values that a filter asks for, by the names of `find_statement`."""
    asked = {field.name: cast("object", getattr(jobs, field.name)) for field in fields(jobs)}
    del asked["order"]
    return {name: _bound(value) for name, value in asked.items() if value is not None}


def page_token(jobs: JobFilter, last_id: int) -> str:
    """Return the token of the page behind the job with this row id."""
    position = last_id.to_bytes(_ID_BYTES, signed=True)
    return urlsafe_b64encode(position + _signature(jobs, position)).decode()


def position_of(jobs: JobFilter, token: str | None) -> dict[str, object]:
    """Return the condition with which a page begins; none for the first page.

    Raises:
        InvalidJobError: the token is not one that was given out for this filter and order.
    """
    if token is None:
        return {}
    name = "before_id" if jobs.order == "newest" else "after_id"
    return {name: _last_id(jobs, token)}


def _last_id(jobs: JobFilter, token: object) -> int:
    try:
        raw = urlsafe_b64decode(str(token).encode("ascii"))
    except ValueError:
        raw = b""
    position, signature = raw[:_ID_BYTES], raw[_ID_BYTES:]
    if signature != _signature(jobs, position):
        raise InvalidJobError(
            f"page token {token!r} does not belong to this filter: pass on `JobPage.next` unchanged"
        )
    return int.from_bytes(position, signed=True)


def _bound(value: object) -> object:
    """Write several texts as a JSON array, without those that no job can have."""
    if not isinstance(value, tuple):
        return value
    texts = sorted(map(str, cast("tuple[object, ...]", value)))
    return json.dumps([text for text in texts if storable_text(text) == text])


def _signature(jobs: JobFilter, position: bytes) -> bytes:
    """Tie a token to its filter and order: a guard against mistakes, not against attackers."""
    asked = json.dumps(conditions_of(jobs) | {"order": jobs.order}, sort_keys=True).encode()
    return blake2b(position + asked, digest_size=_SIGNATURE_BYTES).digest()

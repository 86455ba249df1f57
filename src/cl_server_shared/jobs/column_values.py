"""The values of columns, in which SQLite stores whatever it is given: reading them is total."""

import json
from collections.abc import Callable, Iterable
from typing import Final, cast, get_type_hints

from pydantic_core import from_json

from cl_server_shared.models import JobStatus
from cl_server_shared.models.job import storable_text
from cl_server_shared.models.json_object import JsonObject

STATUSES: Final = {status.value: status for status in JobStatus}


def status_of(value: object) -> JobStatus:
    """Read a status; one that other code invented is final like `error`."""
    return STATUSES.get(str(value), JobStatus.error)


def count(value: object) -> int:
    """Read a number that is 0 or more; whatever else there is counts as 0."""
    return value if isinstance(value, int) and value >= 0 else 0


def integer(value: object) -> int:
    """Read a number; whatever else there is counts as 0."""
    return value if isinstance(value, int) else 0


def integer_or_none(value: object) -> int | None:
    """Read a number that may be missing."""
    return value if isinstance(value, int) else None


def text_or_none(value: object) -> str | None:
    """Read a text, so that it can be stored again."""
    return None if value is None else storable_text(str(value))


def output_text(value: object) -> str | None:
    """Read the JSON text of an output."""
    text = text_or_none(value)
    return None if text == "null" else text  # the original library wrote JSON's null


type Reader = Callable[[object], object]

_READERS: Final[dict[object, Reader]] = {
    int: count,
    int | None: integer_or_none,
    str | None: text_or_none,
    JobStatus: status_of,
}
"""How a column is read, by the type of its field."""


def readers(fields: type, names: Iterable[str], **own: Reader) -> dict[str, Reader]:
    """Return how each of these columns is read: by the type of its field, or in its *own* way."""
    types = get_type_hints(fields)
    return {name: own.get(name) or _READERS[types[name]] for name in names}


def required_text(field: str, value: object) -> str:
    """Read a text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field} is {type(value).__name__}, not text")
    return value


def trusted_object(text: object) -> JsonObject | None:
    """Read an object from JSON in ASCII, as this library writes it; None if it is anything else."""
    if not isinstance(text, str) or not text.isascii() or "\\u0000" in text:
        return None
    try:
        found = cast("object", from_json(text, allow_inf_nan=False))  # from_json returns Any
    except ValueError:
        return None
    return cast("JsonObject", found) if isinstance(found, dict) else None


def json_object(field: str, value: object) -> JsonObject | None:
    """Read the JSON text of an object, or of JSON's null.

    Raises:
        TypeError: it is no text, or of something else.
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    text = required_text(field, value)
    text.encode()  # raises where the stored bytes are no UTF-8
    found = cast("object", json.loads(text))  # json.loads returns Any
    if found is not None and not isinstance(found, dict):
        raise TypeError(f"{field} is a JSON {type(found).__name__}, not an object")
    return cast("JsonObject | None", found)  # the record checks the rest

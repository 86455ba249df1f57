"""The values of columns, in which SQLite stores whatever it is given: reading them is total."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import contains, itemgetter
from typing import Final, cast, get_type_hints

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

_KINDS: Final[dict[object, Collection[type]]] = {
    int: (int,),
    int | None: (int, type(None)),
    str | None: (str, type(None)),
    JobStatus: (str,),
}
"""The types of values that need no reading, by the type of the field."""


def readers(fields: type, names: Iterable[str], **own: Reader) -> dict[str, Reader]:
    """Return how each of these columns is read: by the type of its field, or in its *own* way."""
    types = get_type_hints(fields)
    return {name: own.get(name) or _READERS[types[name]] for name in names}


def trusted_check(fields: type) -> Callable[[tuple[object, ...]], bool]:
    """Return what tells whether all values are beyond doubt what their readers make of them.

    That takes a third of the time of reading them one by one.

    Args:
        fields: a named tuple's class, its first field a status.
    """
    hints: list[object] = [*get_type_hints(fields).values()]
    kinds = [_KINDS[hint] for hint in hints]
    # What an itemgetter returns has no type of its own; `kinds` makes sure of it.
    counts = cast("_Picked[int]", itemgetter(*_places(hints, int)))
    texts = cast("_Picked[str | None]", itemgetter(*_places(hints, str | None)))

    def is_trusted(values: tuple[object, ...]) -> bool:
        return (
            values[0] in STATUSES
            and all(map(contains, kinds, map(type, values)))
            and min(counts(values)) >= 0
            and "null" not in texts(values)
            and all(map(str.isprintable, filter(None, texts(values))))
        )

    return is_trusted


type _Picked[T] = Callable[[tuple[object, ...]], tuple[T, ...]]


def _places(hints: Sequence[object], wanted: object) -> list[int]:
    return [at for at, hint in enumerate(hints) if hint == wanted]


def required_text(field: str, value: object) -> str:
    """Read a text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field} is {type(value).__name__}, not text")
    return value


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

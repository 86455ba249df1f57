"""What is beyond doubt valid, told at a fraction of what validating it costs.

Each check here is sufficient, none is necessary: what is not trusted is validated in full, and
there refused, mended or taken as it is. Types are compared exactly, since a subclass may be
anything.
"""

import json
import re
from collections.abc import Mapping
from typing import Final, cast

from pydantic import JsonValue
from pydantic_core import from_json, to_json

NAME_MAX_LENGTH: Final = 255
PROGRESS_MAX: Final = 100

# An escaped NUL in JSON text: `\u0000` behind an even number of backslashes.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def is_trusted(job_id: object, task_type: object, progress: object, message: object) -> bool:
    """Tell whether these fields of a record are beyond doubt valid."""
    return (
        is_trusted_name(job_id)
        and is_trusted_name(task_type)
        and is_percentage(progress)
        and is_trusted_message(message)
    )


def is_trusted_name(value: object) -> bool:
    """Tell whether *value* is a job_id or task_type without any odd character."""
    return type(value) is str and 0 < len(value) <= NAME_MAX_LENGTH and value.isprintable()


def is_trusted_message(value: object) -> bool:
    """Tell whether *value* is a text in one line without any odd character, or None."""
    return value is None or (type(value) is str and value.isprintable())


def is_percentage(value: object) -> bool:
    """Tell whether *value* is an integer from 0 to 100."""
    return type(value) is int and 0 <= value <= PROGRESS_MAX


def trusted_json(value: object) -> str | None:
    """Write an object as compact ASCII text; None if it is not beyond doubt a JSON object."""
    kept = round_trip(value)
    if kept is None:
        return None
    text, copy = kept
    return text.decode() if text.isascii() else encode(copy)


def round_trip(value: object) -> tuple[bytes, dict[str, JsonValue]] | None:
    """Write *value* as JSON and read that; None if there is doubt that it is a JSON object.

    What comes back equal is one, and the copy has nothing but plain types: at a third of what
    looking at each value in Python costs, or at its encoder.
    """
    if type(value) is not dict:
        return None
    given = cast("dict[object, object]", value)
    try:
        text = to_json(given)
        copy = cast(
            "dict[str, JsonValue]", from_json(text, allow_inf_nan=False)
        )  # from_json returns Any
    except (ValueError, RecursionError):
        return None
    return (text, copy) if copy == given and b"\\u0000" not in text else None


def encode(value: Mapping[str, object]) -> str:
    """Write a JSON object as compact ASCII text.

    Raises:
        ValueError: a value is no JSON, or a text holds NUL.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not a JSON value: {error}") from error
    # The plain search is there for its speed: it is nearly always the last word.
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise ValueError("text with a NUL character cannot be stored: remove it")
    return text


def trusted_object(text: object) -> dict[str, JsonValue] | None:
    """Read an object from JSON in ASCII, as this library writes it; None if it is anything else."""
    if not isinstance(text, str) or not text.isascii() or "\\u0000" in text:
        return None
    try:
        found = cast("object", from_json(text, allow_inf_nan=False))  # from_json returns Any
    except ValueError:
        return None
    return cast("dict[str, JsonValue]", found) if isinstance(found, dict) else None

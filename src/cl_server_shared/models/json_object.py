"""JSON objects as jobs carry them: `params` and `output`."""

import json
import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

type JsonObject = dict[str, JsonValue]

# An escaped NUL in JSON text: `\u0000` behind an even number of backslashes.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode_object(value: Mapping[str, object]) -> str:
    """Write a JSON object as compact ASCII text that every database accepts.

    Raises:
        ValueError: a value is no JSON (RFC 8259 has no NaN and no Infinity), a key is no text, or a
            text holds NUL, which PostgreSQL cannot store.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not a JSON value: {error}") from error
    # The plain search is there for its speed: it is nearly always the last word.
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise ValueError("text with a NUL character cannot be stored: remove it")
    return text


def checked_object(value: JsonObject) -> JsonObject:
    """Return *value* as it is when it can be stored as JSON.

    Raises:
        ValueError: see `encode_object`.
    """
    encode_object(value)
    return value

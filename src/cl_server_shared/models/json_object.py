"""JSON objects as jobs carry them: `params` and `output`."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json

type JsonObject = dict[str, JsonValue]

# An escaped NUL in JSON text: `\u0000` behind an even number of backslashes.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


_LONGEST_INTEGER: Final = sys.int_info.default_max_str_digits  # what `json` reads and writes
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


def _is_surely_kept(value: JsonObject) -> bool:
    """Tell whether there is no doubt about *value*, at a sixth of what encoding it costs."""
    try:
        text = to_json(value)
    except (ValueError, RecursionError):
        return False
    is_doubtful = b"NaN" in text or b"Infinity" in text or b"\\u0000" in text
    return len(text) <= _LONGEST_INTEGER and not is_doubtful


def checked_object(value: JsonObject) -> JsonObject:
    """Return *value* as it is when it can be stored as JSON.

    Raises:
        ValueError: see `encode_object`.
    """
    if not _is_surely_kept(value):
        encode_object(value)
    return value

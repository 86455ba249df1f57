"""JSON objects as jobs carry them: `params` and `output`."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, cast

from pydantic import JsonValue, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import from_json, to_json

type JsonObject = dict[str, JsonValue]

type JsonInput = Mapping[str, "JsonInput"] | Sequence["JsonInput"] | str | int | float | bool | None
"""What may be given where JSON is wanted: any mapping becomes an object, any sequence an array."""

# An escaped NUL in JSON text: `\u0000` behind an even number of backslashes.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode_object(value: Mapping[str, object]) -> str:
    """Write a JSON object as compact ASCII text that every database accepts.

    Raises:
        ValueError: a value is no JSON (RFC 8259 has no NaN and no Infinity), a key is no text, or a
            text holds NUL, which PostgreSQL cannot store.
    """
    text = trusted_json(value)
    return _encode(value) if text is None else text


def trusted_json(value: object) -> str | None:
    """Write an object as `encode_object` does; None if it is not beyond doubt a JSON object."""
    kept = _round_trip(value)
    if kept is None:
        return None
    text, copy = kept
    return text.decode() if text.isascii() else _encode(copy)


def _round_trip(value: object) -> tuple[bytes, JsonObject] | None:
    """Write *value* as JSON and read that; None if there is doubt that it is a JSON object.

    What comes back equal is one, and the copy has nothing but plain types: at a third of what
    looking at each value in Python costs, or at its encoder.
    """
    if type(value) is not dict:
        return None
    given = cast("dict[object, object]", value)
    try:
        text = to_json(given)
        copy = cast("JsonObject", from_json(text, allow_inf_nan=False))  # from_json returns Any
    except (ValueError, RecursionError):
        return None
    return (text, copy) if copy == given and b"\\u0000" not in text else None


def _encode(value: Mapping[str, object]) -> str:
    try:
        text = _ENCODER.encode(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not a JSON value: {error}") from error
    # The plain search is there for its speed: it is nearly always the last word.
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise ValueError("text with a NUL character cannot be stored: remove it")
    return text


def _checked(value: object, validate: ValidatorFunctionWrapHandler) -> JsonObject:
    kept = _round_trip(value)
    if kept is not None:
        return kept[1]
    try:
        checked = cast("JsonObject", validate(_built_in(value)))  # validate returns Any
    except RecursionError as error:
        raise ValueError(f"not a JSON value: {error}") from error
    _encode(checked)
    return checked


def _built_in(value: object) -> object:
    """Copy mappings as dicts, and sequences as lists; whatever else there is stays."""
    if isinstance(value, Mapping):
        given = cast("Mapping[object, object]", value)
        return {key: _built_in(item) for key, item in given.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_built_in(item) for item in value]
    return value


StorableObject = Annotated[JsonObject, WrapValidator(_checked)]
"""A JSON object that can be stored; the record holds a copy of what it is made with.

Raises:
    pydantic.ValidationError: see `encode_object`.
"""

"""JSON objects as jobs carry them: `params` and `output`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

from pydantic import JsonValue, ValidatorFunctionWrapHandler, WrapValidator

from cl_server_shared.models.trusted import encode, round_trip, trusted_json

type JsonObject = dict[str, JsonValue]
"""A JSON object as a record holds it (RFC 8259): names and values, nested at will."""

type JsonInput = Mapping[str, "JsonInput"] | Sequence["JsonInput"] | str | int | float | bool | None
"""What may be given where JSON is wanted: any mapping becomes an object, any sequence an array."""


def encode_object(value: Mapping[str, object]) -> str:
    """Write a JSON object as compact ASCII text that every database accepts.

    Raises:
        ValueError: a value is no JSON (RFC 8259 has no NaN and no Infinity), a key is no text, or a
            text holds NUL, which PostgreSQL cannot store.
    """
    text = trusted_json(value)
    return encode(value) if text is None else text


def _checked(value: object, validate: ValidatorFunctionWrapHandler) -> JsonObject:
    kept = round_trip(value)
    if kept is not None:
        return kept[1]
    try:
        checked = cast("JsonObject", validate(_built_in(value)))  # validate returns Any
    except RecursionError as error:
        raise ValueError(f"not a JSON value: {error}") from error
    encode(checked)
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

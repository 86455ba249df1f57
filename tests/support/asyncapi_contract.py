"""The published contract, as a reader in any language has it."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Protocol, cast

from jsonschema import Draft7Validator, ValidationError
from pydantic import TypeAdapter

_OBJECT = TypeAdapter(dict[str, object])
_ANYTHING = TypeAdapter(object)


class _Validator(Protocol):
    """What is used of a validator."""

    def iter_errors(self, instance: object) -> Iterator[ValidationError]: ...


def contract_text() -> str:
    """Return the file that is shipped in the package."""
    return files("cl_server_shared.events").joinpath("asyncapi.json").read_text("ascii")


def contract() -> dict[str, object]:
    return _OBJECT.validate_json(contract_text())


def at(*path: str) -> object:
    """Return what stands in the contract at *path*."""
    found: object = contract()
    for key in path:
        found = cast("Mapping[str, object]", found)[key]  # a wrong path is a KeyError
    return found


def faults(channel: str, message: str, payload: bytes) -> Sequence[str]:
    """Return what is wrong with a payload; AsyncAPI 3.0 schemas are those of JSON Schema draft 7.

    The validator looks up references in the whole document.
    """
    reference = at("channels", channel, "messages", message, "payload")
    schema = {**contract(), **cast("Mapping[str, object]", reference)}
    validator = cast("_Validator", cast("object", Draft7Validator(schema)))  # its stubs say Any
    return [fault.message for fault in validator.iter_errors(_ANYTHING.validate_json(payload))]

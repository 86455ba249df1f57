"""The contract of what is published, as an AsyncAPI 3.0 document.

`python -m tests.support.asyncapi_generator` prints it. `cl_server_shared/events/asyncapi.json` is a
copy for readers in other languages; a test compares the two.
"""

import json
import sys
from dataclasses import dataclass
from typing import Final, cast, final, override

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from cl_server_shared.events.payload import EventPayload
from cl_server_shared.models.event import SCHEMA_VERSION
from cl_server_shared.presence.payload import WorkerPresence

type JsonObject = dict[str, object]

_SCHEMAS: Final = "#/components/schemas/{model}"


@final
@dataclass(frozen=True, slots=True)
class _Channel:
    """A topic, and the JSON objects that are published on it with QoS 1.

    `cleared` says what an empty payload means, on a retained topic.
    """

    name: str
    address: str
    description: str
    payload: type[BaseModel]
    parameters: tuple[tuple[str, str], ...] = ()
    is_retained: bool = False
    cleared: str | None = None


_CHANNELS: Final = (
    _Channel(
        name="JobEvents",
        address="inference/events",
        description="Every change of every job, after it was committed. The setting MQTT_TOPIC is "
        "the address; this is its default. Events may arrive more than once and, from different "
        "processes, in another order: order each job's by created_at and seq, and drop those of "
        "an event_id that you have seen.",
        payload=EventPayload,
    ),
    _Channel(
        name="WorkerPresence",
        address="inference/workers/{worker_id}",
        description="The workers that live. The setting CAPABILITY_TOPIC_PREFIX is the address up "
        "to the worker's id; this is its default.",
        payload=WorkerPresence,
        parameters=(("worker_id", "Which worker."),),
        is_retained=True,
        cleared="the worker is gone.",
    ),
)


def describe() -> JsonObject:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": "application/json",
        "channels": {each.name: _channel(each) for each in _CHANNELS},
        "operations": {f"publish{each.name}": _operation(each) for each in _CHANNELS},
        "components": {"schemas": _schemas()},
    }


def describe_as_text() -> str:
    """Return the document as it stands in `asyncapi.json`."""
    return json.dumps(describe(), indent=2) + "\n"


def _info() -> JsonObject:
    return {
        "title": "cl-server-shared",
        "version": f"{SCHEMA_VERSION}.0.0",  # what a reader must understand, not our release
        "description": "What services tell through an MQTT broker (MQTT 5; readers may use 3.1.1).",
        "license": {"name": "MIT"},
    }


def _channel(channel: _Channel) -> JsonObject:
    described: JsonObject = {
        "address": channel.address,
        "description": channel.description,
        "messages": _messages(channel),
    }
    if channel.parameters:
        described["parameters"] = {name: {"description": text} for name, text in channel.parameters}
    return described


def _messages(channel: _Channel) -> JsonObject:
    name = channel.payload.__name__
    messages: JsonObject = {
        name: {"name": name, "payload": {"$ref": _SCHEMAS.format(model=name)}},
    }
    if channel.cleared is not None:
        messages["Cleared"] = {
            "name": "Cleared",
            "summary": f"An empty payload: {channel.cleared}",
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "maxLength": 0},
        }
    return messages


def _operation(channel: _Channel) -> JsonObject:
    mqtt = {"qos": 1, "retain": channel.is_retained, "bindingVersion": "0.2.0"}
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "bindings": {"mqtt": mqtt},
    }


def _schemas() -> object:
    _, schemas = models_json_schema(
        [(each.payload, "serialization") for each in _CHANNELS],
        ref_template=_SCHEMAS,
        schema_generator=_Published,
    )
    return cast("object", schemas["$defs"])  # pydantic types JSON as Any


@final
class _Published(GenerateJsonSchema):
    """Describes what we publish, which has every key, also those that others may leave out."""

    @override
    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return True

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    @override
    def field_title_should_be_set(self, schema: object) -> bool:
        return False


if __name__ == "__main__":
    sys.stdout.write(describe_as_text())

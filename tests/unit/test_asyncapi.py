"""The contract document says what is published."""

import json
import re
import subprocess
import sys
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cl_server_shared.events.payload import encode_event
from cl_server_shared.models import JobEvent, JobStatus
from tests.support.asyncapi_contract import at, contract_text, faults
from tests.support.asyncapi_generator import describe_as_text
from tests.support.repositories import settings

_OBJECT: Final = TypeAdapter(dict[str, object])
_EVENTS: Final = st.builds(
    JobEvent,
    job_id=st.text(min_size=1),
    event_type=st.sampled_from(JobStatus),
    timestamp=st.integers(0, 2**63 - 1),
    progress=st.integers(0, 100),
    task_type=st.text(),
    seq=st.integers(0, 2**63 - 1),
    created_at=st.integers(0, 2**63 - 1),
)
_EVENT: Final = JobEvent(
    job_id="j1",
    event_type=JobStatus.completed,
    timestamp=1700,
    progress=100,
    task_type="resize",
    seq=3,
    created_at=1600,
)
_PRESENCE: Final[dict[str, object]] = {
    "id": "w1",
    "worker_id": "w1",
    "capabilities": ["resize"],
    "idle_count": 0,
    "timestamp": 1700,
    "session": "s",
}


def faults_of_event(payload: object) -> list[str]:
    return list(faults("JobEvents", "EventPayload", json.dumps(payload).encode()))


def test_the_shipped_document_is_the_one_that_the_models_make() -> None:
    """If not: python -m tests.support.asyncapi_generator > .../events/asyncapi.json ."""
    assert contract_text() == describe_as_text()


def test_the_module_prints_the_document() -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.support.asyncapi_generator"]
    printed = subprocess.run(command, env={}, capture_output=True, check=True)

    assert (printed.stdout.decode("ascii"), printed.stderr) == (describe_as_text(), b"")


def test_every_reference_leads_somewhere() -> None:
    references: list[str] = re.findall(r'"\$ref": "#/([^"]+)"', contract_text())

    assert len(references) == 5  # two channels, two payloads, the status
    assert all(at(*reference.split("/")) for reference in references)


def test_the_addresses_are_the_defaults_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MQTT_TOPIC", raising=False)
    monkeypatch.delenv("CAPABILITY_TOPIC_PREFIX", raising=False)
    defaults = settings()

    assert at("channels", "JobEvents", "address") == defaults.MQTT_TOPIC
    assert at("channels", "WorkerPresence", "address") == (
        f"{defaults.CAPABILITY_TOPIC_PREFIX}/{{worker_id}}"
    )


@given(_EVENTS)
def test_every_event_is_as_the_contract_says(event: JobEvent) -> None:
    assert faults("JobEvents", "EventPayload", encode_event(event)) == []


def test_the_contract_names_every_key_of_an_event_and_no_other() -> None:
    written = set(_OBJECT.validate_json(encode_event(_EVENT)))
    named = at("components", "schemas", "EventPayload", "properties")

    assert set(_OBJECT.validate_python(named)) == written


@pytest.mark.parametrize("key", sorted(_OBJECT.validate_json(encode_event(_EVENT))))
def test_an_event_without_one_of_its_keys_breaks_the_contract(key: str) -> None:
    event = _OBJECT.validate_json(encode_event(_EVENT))
    del event[key]

    assert faults_of_event(event) == [f"'{key}' is a required property"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job_id", ""),
        ("event_type", "paused"),
        ("timestamp", -1),
        ("progress", 101),
        ("seq", "1"),
        ("created_at", None),
        ("event_id", 3),
    ],
)
def test_a_wrong_value_breaks_the_contract(key: str, value: object) -> None:
    assert faults_of_event(_OBJECT.validate_json(encode_event(_EVENT)) | {key: value}) != []


def test_a_key_that_is_not_named_keeps_the_contract() -> None:
    assert faults_of_event(_OBJECT.validate_json(encode_event(_EVENT)) | {"more": 1}) == []


@pytest.mark.parametrize(
    ("changed", "number"), [({}, 0), ({"idle_count": -1}, 1), ({"capabilities": "resize"}, 1)]
)
def test_presence_is_checked_too(changed: dict[str, object], number: int) -> None:
    payload = json.dumps(_PRESENCE | changed).encode()

    assert len(faults("WorkerPresence", "WorkerPresence", payload)) == number


@pytest.mark.parametrize(("name", "is_retained"), [("JobEvents", False), ("WorkerPresence", True)])
def test_the_bindings_say_how_it_is_published(name: str, *, is_retained: bool) -> None:
    binding = _OBJECT.validate_python(at("operations", f"publish{name}", "bindings", "mqtt"))

    assert binding == {"qos": 1, "retain": is_retained, "bindingVersion": "0.2.0"}

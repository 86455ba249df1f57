"""The payload of an event: what is written is read again, and junk is no event."""

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cl_server_shared.events.payload import NotAnEvent, decode_event, encode_event
from cl_server_shared.models import JobEvent, JobStatus

_EVENTS: Final = st.builds(
    JobEvent,
    job_id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255),
    event_type=st.sampled_from(JobStatus),
    timestamp=st.integers(0, 2**63 - 1),
    progress=st.integers(0, 100),
    task_type=st.text(st.characters(exclude_categories=["Cs"]), max_size=255),
    seq=st.integers(0, 2**63 - 1),
    created_at=st.integers(0, 2**63 - 1),
    schema_version=st.integers(0, 2**31),
)
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_KEYS: Final = (
    "job_id",
    "event_type",
    "timestamp",
    "progress",
    "task_type",
    "seq",
    "created_at",
    "event_id",
    "schema_version",
)
_OBJECT: Final = TypeAdapter(dict[str, object])
_SEED: Final = {"job_id": "j1", "event_type": "completed", "timestamp": 1700, "progress": 100}


@given(_EVENTS)
def test_an_event_is_read_as_it_was_written(event: JobEvent) -> None:
    assert decode_event(encode_event(event)) == event


@given(_EVENTS)
def test_an_event_is_one_line_of_ascii_json_with_these_keys(event: JobEvent) -> None:
    payload = encode_event(event)

    assert payload.isascii()
    assert b"\n" not in payload
    assert list(_OBJECT.validate_json(payload)) == list(_KEYS)


def test_the_first_four_keys_are_those_that_every_reader_knows() -> None:
    event = JobEvent(
        job_id="j1",
        event_type=JobStatus.completed,
        timestamp=1700,
        progress=100,
        task_type="image_resize",
        seq=3,
        created_at=1600,
    )

    written = {"task_type": "image_resize", "seq": 3, "schema_version": 1}
    written |= {"created_at": 1600, "event_id": "j1/1600/3"}
    assert _OBJECT.validate_json(encode_event(event)) == _SEED | written


def test_a_payload_of_only_these_four_keys_is_an_event_of_unknown_type_and_order() -> None:
    assert decode_event(json.dumps(_SEED).encode()) == JobEvent(
        job_id="j1",
        event_type=JobStatus.completed,
        timestamp=1700,
        progress=100,
        task_type="",
        seq=0,
        schema_version=0,
    )


@given(_EVENTS, st.dictionaries(st.text().filter(lambda key: key not in _KEYS), _JSON))
def test_keys_that_nobody_knows_are_ignored(event: JobEvent, extra: dict[str, object]) -> None:
    payload = json.dumps(_OBJECT.validate_json(encode_event(event)) | extra).encode()

    assert decode_event(payload) == event


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_junk_is_no_event(payload: bytes) -> None:
    assert isinstance(decode_event(payload), NotAnEvent)


@given(st.sampled_from([key for key in _KEYS if key != "event_id"]), _JSON)  # derived
def test_one_wrong_value_makes_no_event_or_an_event_with_that_value(
    key: str, value: object
) -> None:
    read = decode_event(json.dumps(_SEED | {key: value}).encode())

    assert isinstance(read, NotAnEvent) or getattr(read, key) == value


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("job_id", "", "job_id: String should have at least 1 character"),
        ("event_type", "paused", "event_type: Input should be 'queued', 'processing'"),
        ("timestamp", -1, "timestamp: Input should be greater than or equal to 0"),
        ("timestamp", True, "timestamp: Input should be a valid integer"),
        ("progress", 101, "progress: Input should be less than or equal to 100"),
        ("progress", "50", "progress: Input should be a valid integer"),
        ("seq", -1, "seq: Input should be greater than or equal to 0"),
    ],
)
def test_the_reason_names_the_key_and_what_is_allowed(key: str, value: object, reason: str) -> None:
    read = decode_event(json.dumps(_SEED | {key: value}).encode())

    assert isinstance(read, NotAnEvent)
    assert read.reason.startswith(reason)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b'{"job_id":"\\ud800"}', b"null", b"[]"],
)
def test_text_that_breaks_parsers_is_no_event(payload: bytes) -> None:
    assert isinstance(decode_event(payload), NotAnEvent)

"""What workers announce: every status survives the wire, and anything else is a value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.errors import ConfigError
from cl_server_shared.models import WorkerStatus
from cl_server_shared.mqtt.messages import IncomingMessage
from cl_server_shared.presence.payload import (
    SESSION,
    Cleared,
    NotAWorker,
    encode_status,
    new_status,
    read_presence,
    worker_topic,
)

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_LEVELS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="+#/\0"), min_size=1, max_size=30
)
_STATUSES = st.builds(
    WorkerStatus,
    worker_id=_LEVELS,
    capabilities=st.lists(_TEXTS, max_size=5).map(tuple),
    idle_count=st.integers(0, 2**63),
    timestamp=st.integers(0, 2**63),
    session=_TEXTS,
)
_SEED = {"id": "w", "worker_id": "w", "capabilities": ["resize"], "idle_count": 1, "timestamp": 7}


def read(payload: bytes, topic: str = "workers/w") -> object:
    return read_presence(IncomingMessage(topic, payload))


def seed(**changed: object) -> bytes:
    return json.dumps({**_SEED, **changed}).encode()


@given(_STATUSES)
def test_a_status_survives_the_wire(status: WorkerStatus) -> None:
    topic = worker_topic("workers/of mine", status.worker_id)

    assert read(encode_status(status), topic) == status


def test_a_status_is_one_compact_json_object_with_the_id_under_both_names() -> None:
    status = WorkerStatus(
        worker_id="w-1", capabilities=("a", "ß"), idle_count=2, timestamp=3, session="s"
    )

    assert encode_status(status) == (
        b'{"id":"w-1","worker_id":"w-1","capabilities":["a","\\u00df"],'
        b'"idle_count":2,"timestamp":3,"session":"s"}'
    )


@pytest.mark.parametrize("left_out", [{"id": None}, {"worker_id": None}, {"more": "is ignored"}])
def test_workers_that_have_no_sessions_are_read(left_out: dict[str, object]) -> None:
    assert read(seed(**left_out)) == WorkerStatus(
        worker_id="w", capabilities=("resize",), idle_count=1, timestamp=7, session=""
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "payload: "),
        (b"[]", "payload: "),
        (b"{}", "capabilities: Field required"),
        (seed(idle_count=-1), "idle_count: "),
        (seed(idle_count=True), "idle_count: "),
        (seed(idle_count=0.5), "idle_count: "),
        (seed(capabilities="resize"), "capabilities: "),
        (seed(capabilities=[1]), "capabilities.0: "),
        (seed(timestamp=-1), "timestamp: "),
        (seed(session=None), "session: "),
        (seed(id="other"), "its ids are ['other', 'w'], its topic is 'w''s"),
        (seed(id=None, worker_id=None), "its ids are [], its topic is 'w''s"),
    ],
)
def test_what_is_no_worker_comes_with_its_reason(payload: bytes, reason: str) -> None:
    found = read(payload)

    assert isinstance(found, NotAWorker)
    assert reason in found.reason


@given(_TEXTS, st.binary(min_size=1) | _TEXTS.filter(bool).map(str.encode))
def test_whatever_the_bytes_are_reading_them_is_no_error(topic: str, payload: bytes) -> None:
    assert isinstance(read(payload, topic), WorkerStatus | NotAWorker)


def test_an_empty_message_clears_the_session_that_it_names() -> None:
    assert read(b"") == Cleared(None)
    assert read_presence(IncomingMessage("workers/w", b"", properties={SESSION: "s"})) == Cleared(
        "s"
    )


@given(st.integers(0, 2**47), st.integers(0, 2**47))
def test_sessions_sort_by_their_start(earlier: int, later: int) -> None:
    first, second = (new_status("w", [], at_ms, "token").session for at_ms in (earlier, later))

    assert (first < second) == (earlier < later)


def test_a_worker_starts_busy() -> None:
    status = new_status("w-1", ["resize"], 1_700_000_000_000, "token")

    assert status == WorkerStatus(
        worker_id="w-1",
        capabilities=("resize",),
        idle_count=0,
        timestamp=1_700_000_000_000,
        session="018bcfe56800-token",
    )


@pytest.mark.parametrize("capability", ["", "a\0b", "\ud800"])
def test_a_task_type_that_nobody_can_read_is_refused(capability: str) -> None:
    with pytest.raises(ConfigError, match="'w-1' cannot have the task type"):
        new_status("w-1", ["resize", capability], 0, "token")


@pytest.mark.parametrize(
    ("prefix", "worker_id"), [("", "w"), ("a/+", "w"), ("a", "b/c"), ("a", ""), ("a" * 65_535, "b")]
)
def test_a_topic_that_cannot_be_is_refused(prefix: str, worker_id: str) -> None:
    with pytest.raises(ConfigError):
        worker_topic(prefix, worker_id)

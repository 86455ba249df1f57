"""When a worker announces itself on its topic."""

import math

import pytest

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Cleared, NotAWorker, PresenceMessage
from cl_server_shared.presence.presence_state import (
    PresenceState,
    after_announcing,
    after_connecting,
    after_message,
    seconds_until_due,
)

NEW = PresenceState("5", heartbeat_seconds=30)
ANNOUNCED = after_announcing(NEW, 1, 100)


def status(session: str) -> WorkerStatus:
    return WorkerStatus(worker_id="w", capabilities=(), idle_count=0, timestamp=0, session=session)


def test_a_new_worker_is_announced_at_once() -> None:
    assert seconds_until_due(NEW, 0, 100) <= 0


def test_an_announced_worker_is_announced_again_a_heartbeat_later() -> None:
    assert seconds_until_due(ANNOUNCED, 1, 100) == 30
    assert seconds_until_due(ANNOUNCED, 1, 130) == 0


def test_another_count_is_announced_at_once() -> None:
    assert seconds_until_due(ANNOUNCED, 2, 100) == 0


def test_a_new_connection_is_used_at_once() -> None:
    assert seconds_until_due(after_connecting(ANNOUNCED), 1, 100) <= 0


def test_its_own_message_changes_nothing() -> None:
    assert after_message(ANNOUNCED, status("5"), 101) == ANNOUNCED


@pytest.mark.parametrize(
    "message",
    [
        status("4"),
        status(""),
        Cleared("4"),
        Cleared("5"),
        Cleared("6"),
        Cleared(None),
        NotAWorker("?"),
    ],
)
def test_whatever_else_is_on_its_topic_is_contradicted_once_a_second(
    message: PresenceMessage,
) -> None:
    first = after_message(ANNOUNCED, message, 101)
    assert seconds_until_due(first, 1, 101) == 0

    contradicted = after_announcing(first, 1, 101)
    again = after_message(after_message(contradicted, message, 101.25), message, 101.5)
    assert seconds_until_due(again, 1, 101.5) == 0.5
    assert seconds_until_due(after_announcing(again, 1, 102), 1, 102) == 30


def test_a_newer_session_has_the_topic_for_good() -> None:
    silent = after_message(ANNOUNCED, status("6"), 101)

    assert silent.superseded_by == "6"
    for later in (silent, after_connecting(silent), after_message(silent, Cleared("6"), 102)):
        assert seconds_until_due(later, 9, 1000) == math.inf


def test_a_contradiction_never_delays_a_heartbeat() -> None:
    late = after_message(after_message(ANNOUNCED, Cleared(None), 129.9), Cleared(None), 129.9)

    assert seconds_until_due(late, 1, 129.9) <= 0.1

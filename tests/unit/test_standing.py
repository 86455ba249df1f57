"""When a worker speaks on its topic."""

import math

import pytest

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Gone, Heard, NotAWorker
from cl_server_shared.presence.presence_state import (
    PresenceState,
    after_connecting,
    after_hearing,
    after_speaking,
    seconds_until_due,
)

NEW = PresenceState("5", heartbeat_seconds=30)
TOLD = after_speaking(NEW, 1, 100)


def status(session: str) -> WorkerStatus:
    return WorkerStatus(worker_id="w", capabilities=(), idle_count=0, timestamp=0, session=session)


def test_a_new_worker_speaks_at_once() -> None:
    assert seconds_until_due(NEW, 0, 100) <= 0


def test_after_it_spoke_it_speaks_a_heartbeat_later() -> None:
    assert seconds_until_due(TOLD, 1, 100) == 30
    assert seconds_until_due(TOLD, 1, 130) == 0


def test_another_count_is_told_at_once() -> None:
    assert seconds_until_due(TOLD, 2, 100) == 0


def test_a_new_connection_is_told_at_once() -> None:
    assert seconds_until_due(after_connecting(TOLD), 1, 100) <= 0


def test_its_own_echo_changes_nothing() -> None:
    assert after_hearing(TOLD, status("5"), 101) == TOLD


@pytest.mark.parametrize(
    "heard", [status("4"), status(""), Gone("4"), Gone("5"), Gone("6"), Gone(None), NotAWorker("?")]
)
def test_whatever_else_is_on_its_topic_is_contradicted_once_a_second(heard: Heard) -> None:
    first = after_hearing(TOLD, heard, 101)
    assert seconds_until_due(first, 1, 101) == 0

    told = after_speaking(first, 1, 101)
    again = after_hearing(after_hearing(told, heard, 101.25), heard, 101.5)
    assert seconds_until_due(again, 1, 101.5) == 0.5
    assert seconds_until_due(after_speaking(again, 1, 102), 1, 102) == 30


def test_a_newer_session_has_the_topic_for_good() -> None:
    silent = after_hearing(TOLD, status("6"), 101)

    assert silent.superseded_by == "6"
    for later in (silent, after_connecting(silent), after_hearing(silent, Gone("6"), 102)):
        assert seconds_until_due(later, 9, 1000) == math.inf


def test_a_contradiction_never_delays_a_sign_of_life() -> None:
    late = after_hearing(after_hearing(TOLD, Gone(None), 129.9), Gone(None), 129.9)

    assert seconds_until_due(late, 1, 129.9) <= 0.1

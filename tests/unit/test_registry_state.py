"""Which workers are there, from the messages received and the time alone."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Cleared, NotAWorker, PresenceMessage
from cl_server_shared.presence.registry_state import (
    RegistryState,
    after_message,
    idle_by_capability,
    present_workers,
)

EMPTY = RegistryState(forget_after_ms=90)


def status(
    worker_id: str = "w", session: str = "5", timestamp: int = 1000, idle_count: int = 1
) -> WorkerStatus:
    return WorkerStatus(
        worker_id=worker_id,
        capabilities=("resize",),
        idle_count=idle_count,
        timestamp=timestamp,
        session=session,
    )


def receive(
    state: RegistryState, message: PresenceMessage, now_ms: int = 1000, *, is_retained: bool = False
) -> RegistryState:
    return after_message(state, "w", message, now_ms, is_retained=is_retained)


def sessions(state: RegistryState, now_ms: int = 1000) -> list[str]:
    return [each.session for each in present_workers(state, now_ms)]


def test_a_worker_is_there_until_it_is_silent_for_too_long() -> None:
    state = receive(EMPTY, status(timestamp=1))

    assert sessions(state, 1090) == ["5"]
    assert sessions(state, 1091) == []


def test_another_message_keeps_it_there() -> None:
    state = receive(receive(EMPTY, status()), status(idle_count=7), 1080)

    assert [each.idle_count for each in present_workers(state, 1170)] == [7]


@pytest.mark.parametrize(("timestamp", "last_ms"), [(1000, 1090), (950, 1040), (5000, 1090)])
def test_a_retained_message_is_as_old_as_its_timestamp_but_never_from_the_future(
    timestamp: int, last_ms: int
) -> None:
    state = receive(EMPTY, status(timestamp=timestamp), is_retained=True)

    assert sessions(state, last_ms) == ["5"]
    assert sessions(state, last_ms + 1) == []


def test_a_retained_message_makes_nobody_older_who_was_received_live() -> None:
    state = receive(receive(EMPTY, status()), status(timestamp=920), is_retained=True)

    assert sessions(state, 1090) == ["5"]


def test_a_cleared_worker_is_forgotten() -> None:
    for cleared in (Cleared(None), Cleared("5"), Cleared("6")):
        assert sessions(receive(receive(EMPTY, status()), cleared)) == []


def test_a_late_clearing_of_an_older_session_changes_nothing() -> None:
    assert sessions(receive(receive(EMPTY, status()), Cleared("4"))) == ["5"]


def test_a_newer_session_takes_the_place_and_an_older_one_does_not() -> None:
    assert sessions(receive(receive(EMPTY, status()), status(session="6"))) == ["6"]
    assert sessions(receive(receive(EMPTY, status()), status(session="4"))) == ["5"]


def test_an_older_session_is_believed_once_the_newer_one_is_forgotten() -> None:
    state = receive(receive(EMPTY, status()), status(session="4"), 1091)

    assert sessions(state, 1091) == ["4"]


def test_a_message_of_no_worker_changes_nothing() -> None:
    state = receive(EMPTY, status())

    assert receive(state, NotAWorker("?")) == state


def test_the_forgotten_take_no_memory() -> None:
    def add(state: RegistryState, number: int) -> RegistryState:
        return after_message(state, f"w{number}", status(f"w{number}"), number, is_retained=False)

    state = reduce(add, range(1000), EMPTY)
    assert len(state.known) == 91


_MESSAGES = st.one_of(
    st.builds(status, session=st.sampled_from("456"), timestamp=st.integers(0, 300)),
    st.builds(Cleared, st.sampled_from(["4", "5", "6", None])),
    st.builds(NotAWorker, st.just("?")),
)


@given(st.lists(st.tuples(_MESSAGES, st.integers(0, 50), st.booleans())))
def test_nobody_is_there_who_announced_nothing_in_time(
    messages: list[tuple[PresenceMessage, int, bool]],
) -> None:
    now_ms, state, announced_ms = 0, EMPTY, dict[str, int]()
    for each, pause_ms, is_retained in messages:
        now_ms += pause_ms
        state = receive(state, each, now_ms, is_retained=is_retained)
        if isinstance(each, WorkerStatus):
            announced_ms[each.session] = now_ms
        for session in sessions(state, now_ms):
            assert now_ms - announced_ms[session] <= 90


def test_capabilities_are_summed_over_workers_that_have_them() -> None:
    def with_types(worker_id: str, idle_count: int, *types: str) -> WorkerStatus:
        return WorkerStatus(
            worker_id=worker_id, capabilities=types, idle_count=idle_count, timestamp=0
        )

    workers = [
        with_types("a", 1, "resize", "convert", "resize"),
        with_types("b", 2, "resize"),
        with_types("c", 0, "transcode"),
        with_types("d", 9),
    ]
    assert idle_by_capability(workers) == {"resize": 3, "convert": 1, "transcode": 0}

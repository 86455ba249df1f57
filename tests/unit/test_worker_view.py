"""Which workers are there, from what was heard and the time alone."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Gone, Heard, NotAWorker
from cl_server_shared.presence.registry_state import (
    RegistryState,
    after_hearing,
    idle_by_capability,
    present_workers,
)

NONE = RegistryState(forget_after_ms=90)


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


def hear(
    view: RegistryState, heard: Heard, now_ms: int = 1000, *, is_retained: bool = False
) -> RegistryState:
    return after_hearing(view, "w", heard, now_ms, is_retained=is_retained)


def sessions(view: RegistryState, now_ms: int = 1000) -> list[str]:
    return [each.session for each in present_workers(view, now_ms)]


def test_a_worker_is_there_until_it_is_silent_for_too_long() -> None:
    view = hear(NONE, status(timestamp=1))

    assert sessions(view, 1090) == ["5"]
    assert sessions(view, 1091) == []


def test_a_sign_of_life_keeps_it_there() -> None:
    view = hear(hear(NONE, status()), status(idle_count=7), 1080)

    assert [each.idle_count for each in present_workers(view, 1170)] == [7]


@pytest.mark.parametrize(("timestamp", "last_ms"), [(1000, 1090), (950, 1040), (5000, 1090)])
def test_a_retained_message_is_as_old_as_it_says_but_never_from_the_future(
    timestamp: int, last_ms: int
) -> None:
    view = hear(NONE, status(timestamp=timestamp), is_retained=True)

    assert sessions(view, last_ms) == ["5"]
    assert sessions(view, last_ms + 1) == []


def test_a_retained_message_makes_nobody_older_who_was_heard_live() -> None:
    view = hear(hear(NONE, status()), status(timestamp=920), is_retained=True)

    assert sessions(view, 1090) == ["5"]


def test_a_goodbye_takes_the_worker_away() -> None:
    for gone in (Gone(None), Gone("5"), Gone("6")):
        assert sessions(hear(hear(NONE, status()), gone)) == []


def test_a_late_goodbye_of_an_older_session_takes_nobody_away() -> None:
    assert sessions(hear(hear(NONE, status()), Gone("4"))) == ["5"]


def test_a_newer_session_takes_the_place_and_an_older_one_does_not() -> None:
    assert sessions(hear(hear(NONE, status()), status(session="6"))) == ["6"]
    assert sessions(hear(hear(NONE, status()), status(session="4"))) == ["5"]


def test_an_older_session_is_believed_once_the_newer_one_is_forgotten() -> None:
    view = hear(hear(NONE, status()), status(session="4"), 1091)

    assert sessions(view, 1091) == ["4"]


def test_nonsense_changes_nothing() -> None:
    view = hear(NONE, status())

    assert hear(view, NotAWorker("?")) == view


def test_the_forgotten_take_no_memory() -> None:
    def add(view: RegistryState, number: int) -> RegistryState:
        return after_hearing(view, f"w{number}", status(f"w{number}"), number, is_retained=False)

    view = reduce(add, range(1000), NONE)
    assert len(view.sightings) == 91


_HEARD = st.one_of(
    st.builds(status, session=st.sampled_from("456"), timestamp=st.integers(0, 300)),
    st.builds(Gone, st.sampled_from(["4", "5", "6", None])),
    st.builds(NotAWorker, st.just("?")),
)


@given(st.lists(st.tuples(_HEARD, st.integers(0, 50), st.booleans())))
def test_nobody_is_there_who_told_nothing_in_time(heard: list[tuple[Heard, int, bool]]) -> None:
    now_ms, view, told_ms = 0, NONE, dict[str, int]()
    for each, pause_ms, is_retained in heard:
        now_ms += pause_ms
        view = hear(view, each, now_ms, is_retained=is_retained)
        if isinstance(each, WorkerStatus):
            told_ms[each.session] = now_ms
        for session in sessions(view, now_ms):
            assert now_ms - told_ms[session] <= 90


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

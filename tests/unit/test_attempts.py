import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.jobs.attempts import AttemptLog
from cl_server_shared.models import Attempt

ATTEMPTS = st.builds(
    Attempt,
    attempt=st.integers(1, 2**31),
    worker=st.text(max_size=5),
    started_at=st.none() | st.integers(0, 2**62),
    ended_at=st.integers(0, 2**62),
    error=st.text(max_size=5),
)


@given(st.lists(ATTEMPTS, max_size=10))
def test_attempts_come_back_as_they_were_logged(attempts: list[Attempt]) -> None:
    log = AttemptLog()
    for attempt in attempts:
        log = log.with_one_more(attempt)

    assert log.entries() == tuple(attempts)


def attempt(number: int) -> Attempt:
    return Attempt(attempt=number, worker="w", started_at=1, ended_at=2, error="boom")


def test_only_the_latest_are_kept() -> None:
    log = AttemptLog()
    for number in range(AttemptLog.KEPT + 5):
        log = log.with_one_more(attempt(number))

    kept = [entry.attempt for entry in log.entries()]
    assert kept == list(range(5, AttemptLog.KEPT + 5))


@pytest.mark.parametrize("text", [None, "", "null", "{}", '"x"', "[1]", '[{"attempt": 1}]', "[{"])
def test_text_that_is_not_ours_holds_no_attempts_and_is_replaced(text: str | None) -> None:
    log = AttemptLog(text)

    assert log.entries() == ()
    assert log.with_one_more(attempt(1)).entries() == (attempt(1),)


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_reading_never_raises(text: str) -> None:
    assert AttemptLog(text).entries() == () or text == "[]"


def test_the_text_can_be_read_by_people_and_old_code() -> None:
    text = AttemptLog().with_one_more(attempt(3)).text

    assert text is not None
    assert json.loads(text) == [
        {"attempt": 3, "worker": "w", "started_at": 1, "ended_at": 2, "error": "boom"}
    ]

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_server_shared.jobs.attempt_log import KEPT, logged_attempts, with_one_more
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
    log = None
    for attempt in attempts:
        log = with_one_more(log, attempt)

    assert logged_attempts(log) == tuple(attempts)


def attempt(number: int) -> Attempt:
    return Attempt(attempt=number, worker="w", started_at=1, ended_at=2, error="boom")


def test_only_the_latest_are_kept() -> None:
    log = None
    for number in range(KEPT + 5):
        log = with_one_more(log, attempt(number))

    kept = [entry.attempt for entry in logged_attempts(log)]
    assert kept == list(range(5, KEPT + 5))


@pytest.mark.parametrize("text", [None, "", "null", "{}", '"x"', "[1]", '[{"attempt": 1}]', "[{"])
def test_text_that_is_not_ours_holds_no_attempts_and_is_replaced(text: str | None) -> None:
    assert logged_attempts(text) == ()
    assert logged_attempts(with_one_more(text, attempt(1))) == (attempt(1),)


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_reading_never_raises(text: str) -> None:
    assert logged_attempts(text) == () or text == "[]"


def test_the_text_can_be_read_by_people_and_old_code() -> None:
    assert json.loads(with_one_more(None, attempt(3))) == [
        {"attempt": 3, "worker": "w", "started_at": 1, "ended_at": 2, "error": "boom"}
    ]

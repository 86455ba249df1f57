"""What repeats itself is named in the log, and does not fill it."""

import logging

import pytest

from cl_server_shared.process.log_limits import Doubling, EachMinute, FirstOnly, Outage

_LOG = logging.getLogger("test.log_limits")


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_only_the_first_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    limit = FirstOnly(_LOG)
    for number in range(3):
        limit.warn("odd: %s", number)

    assert _warnings(caplog) == ["odd: 0"]
    assert [each.getMessage() for each in caplog.records] == ["odd: 0", "odd: 1", "odd: 2"]


def test_a_minute_passes_between_two_warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("cl_server_shared.process.log_limits.time.monotonic", lambda: now[0])
    limit = EachMinute(_LOG)
    for at in (1_000.0, 1_059.9, 1_060.0):
        now[0] = at
        limit.warn("still away at %s", at)

    assert _warnings(caplog) == ["still away at 1000.0", "still away at 1060.0"]


def test_it_is_logged_at_1_2_4_8(caplog: pytest.LogCaptureFixture) -> None:
    limit = Doubling(_LOG)
    for _ in range(9):
        limit.add("%s refused, %s so far", "it")

    assert _warnings(caplog) == [f"it refused, {count} so far" for count in (1, 2, 4, 8)]
    assert limit.count == 9


def test_an_outage_is_told_at_its_begin_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(_LOG, "fails: %s", "works again")
    outage.end()
    for error in ("first", "second"):
        outage.begin(error)
    outage.end()
    outage.end()

    assert [each.getMessage() for each in caplog.records] == ["fails: first", "works again"]


def test_an_outage_may_say_more_and_end_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(_LOG, "%s fails: %s", "%s works again; %s wait", working_level=logging.WARNING)
    outage.begin("it", "odd")
    outage.end("it", 3)

    assert _warnings(caplog) == ["it fails: odd", "it works again; 3 wait"]

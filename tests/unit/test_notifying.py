"""Notifications of changes: at once after a pause, seldom while there are very many."""

import logging
import time

import pytest

from cl_server_shared.database.changes.notifier import Notifier, next_pause
from tests.support.refused_threads import no_thread_can_start
from tests.support.waiting import wait_until


def test_only_a_crowd_of_changes_makes_the_pauses_longer() -> None:
    assert next_pause(0.01, changes=4) == 0.01
    assert 0.01 < next_pause(0.01, changes=5) < 0.04
    assert next_pause(0.04, changes=20) == 0.04
    assert next_pause(0.04, changes=19) == 0.01


def test_changes_that_never_cease_are_notified_ever_more_seldom() -> None:
    notified: list[float] = []
    notifier = Notifier(lambda: notified.append(time.monotonic()))
    ends_at = time.monotonic() + 1
    while time.monotonic() < ends_at:
        for _ in range(20):  # many a second, however busy the machine is
            notifier.note_change()
        time.sleep(0.001)
    notifier.close()

    assert len(notified) < 50  # each 10 ms it would be 100


def test_a_change_after_a_pause_is_notified_at_once() -> None:
    notified: list[float] = []
    notifier = Notifier(lambda: notified.append(time.monotonic()))
    for number in range(1, 4):
        notifier.note_change()
        wait_until(lambda number=number: len(notified) == number)
        time.sleep(0.1)
    notifier.close()

    assert len(notified) == 3


def test_without_a_thread_a_change_is_notified_when_one_can_start_or_at_the_end() -> None:
    notified: list[float] = []
    notifier = Notifier(lambda: notified.append(time.monotonic()))
    with no_thread_can_start():
        notifier.note_change()
        notifier.note_change()
        assert notified == []
    notifier.note_change()
    wait_until(lambda: len(notified) == 1)

    with no_thread_can_start():
        notifier.close()
        notifier.note_change()
        notifier.close()
    assert len(notified) == 2


def test_a_failure_is_logged_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[float] = []

    def fail_once() -> None:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise OSError("the server is gone")

    notifier = Notifier(fail_once)
    with caplog.at_level(logging.INFO):
        notifier.note_change()
        wait_until(lambda: len(calls) == 1)
        notifier.note_change()
        wait_until(lambda: "works again" in caplog.text)
    notifier.close()

    assert calls[1] - calls[0] > 0.9
    assert caplog.text.count("the server is gone") == 1


def test_closing_raises_nothing_though_the_last_notification_fails() -> None:
    def fail() -> None:
        raise OSError("the server is gone")

    notifier = Notifier(fail)
    with no_thread_can_start():
        notifier.note_change()
        notifier.close()

"""Notifications of changes: at once after a pause, seldom while changes never cease."""

import time

from cl_server_shared.database.notifying import Notifier
from tests.waiting import wait_until


def test_changes_that_never_cease_are_notified_ever_more_seldom() -> None:
    notified: list[float] = []
    notifier = Notifier(lambda: notified.append(time.monotonic()))
    ends_at = time.monotonic() + 1
    while time.monotonic() < ends_at:
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

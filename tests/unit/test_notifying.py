"""Notifications of changes: at once after a pause, seldom while there are very many."""

import time

from cl_server_shared.database.changes.notifier import Notifier, next_pause
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

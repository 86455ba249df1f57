"""Polls of the database by one who waits: at first alone, then woken by changes."""

import logging
import math
from collections.abc import Callable
from typing import Final, final

from cl_server_shared.database import Answers, ChangeSubscription
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.process.log_limits import Outage

_LOG: Final = logging.getLogger(__name__)
_POLL_SECONDS: Final = 1.0  # where no thread could be had that wakes


@final
class Polls:
    """The polls of one owner: the first alone, from the second on woken by changes."""

    def __init__(self, jobs: JobDatabase, subscription: ChangeSubscription) -> None:
        self._jobs: Final = jobs
        self._subscription: Final = subscription
        self.pause_seconds: float = 0  # until the second poll, which begins the watch
        self._has_polled = False
        self._outage: Final = Outage(
            _LOG, "a poll failed, waiting for the next: %s", "polls work again"
        )

    def poll[T](self, read: Callable[[], T]) -> T | None:
        """Return what *read* finds; None where the database failed, except at the first poll.

        Raises:
            DatabaseError: the database failed at the first poll, was closed meanwhile, or cannot
                be changed by others.
        """
        if not self._has_polled:
            found = read()
            self._has_polled = True
            return found
        _require_changes(self._jobs)
        self._subscription.begin_poll()
        is_watched = self._jobs.database.hub.add(self._subscription)
        self.pause_seconds = math.inf if is_watched else _POLL_SECONDS
        try:
            found = read()
        except DatabaseError as error:
            self._outage.begin(error)
            return None
        self._outage.end()
        return found

    def wait_for(self, is_news: Callable[[Answers], bool]) -> None:
        """Be woken only by answers that are news."""
        self._subscription.wait_for(is_news)

    def close(self) -> None:
        """Wake the owner no more."""
        self._jobs.database.hub.discard(self._subscription)


def _require_changes(jobs: JobDatabase) -> None:
    if jobs.database.is_for_one_thread:
        raise DatabaseError(
            "this database cannot be waited on, since no other thread can reach it to change it: "
            "use a file, or create_engine(url, poolclass=StaticPool, "
            "connect_args={'check_same_thread': False})"
        )

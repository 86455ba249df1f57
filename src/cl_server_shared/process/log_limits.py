"""Warnings that would repeat themselves: once, at 1, 2, 4, 8 ..., once a minute, once an outage.

What fails now fails at every try. The log shall name it, and stay readable.
"""

import logging
import time
from typing import Final, final

_MINUTE_SECONDS: Final = 60.0


@final
class FirstOnly:
    """Logs the first message as a warning, all later ones for debugging only."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger: Final = logger
        self._has_warned = False

    def warn(self, message: str, *args: object) -> None:
        """Log *message*, formatted with *args* as `logging` does."""
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        self._logger.log(level, message, *args)


@final
class EachMinute:
    """Logs a warning once a minute at most; the others are left out."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger: Final = logger
        self._next_at = 0.0

    def warn(self, message: str, *args: object) -> None:
        """Log *message*, formatted with *args*, unless one was logged in the last 60 s."""
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _MINUTE_SECONDS
            self._logger.warning(message, *args)


@final
class Doubling:
    """Counts what happens, and logs it at 1, 2, 4, 8 ... times."""

    def __init__(self, logger: logging.Logger, level: int = logging.WARNING) -> None:
        self._logger: Final = logger
        self._level: Final = level
        self.count: int = 0

    def add(self, message: str, *args: object) -> None:
        """Count once more; the last argument of *message* is the number so far."""
        self.count += 1
        if self.count & (self.count - 1) == 0:
            self._logger.log(self._level, message, *args, self.count)


@final
class Outage:
    """Logs that something fails once, as a warning, and once that it works again.

    Args:
        logger: where.
        failing: what to say of a failure; its `%s` stand for what `begin` is given.
        working: what to say when it is over; its `%s` stand for what `end` is given.
        working_level: how important the end is.
    """

    def __init__(
        self,
        logger: logging.Logger,
        failing: str,
        working: str,
        *,
        working_level: int = logging.INFO,
    ) -> None:
        self._logger: Final = logger
        self._failing: Final = failing
        self._working: Final = working
        self._working_level: Final = working_level
        self.is_on: bool = False

    def begin(self, *args: object) -> None:
        """Take note of a failure."""
        if not self.is_on:
            self.is_on = True
            self._logger.warning(self._failing, *args)

    def end(self, *args: object) -> None:
        """Take note that it worked."""
        if self.is_on:
            self.is_on = False
            self._logger.log(self._working_level, self._working, *args)

"""Messages that wait for the broker, or for its acknowledgement."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

_LOG: Final = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Message:
    """A payload to publish with QoS 1; *on_ack* is called once the broker has acknowledged it."""

    topic: str
    payload: bytes
    on_ack: Callable[[], object] | None = None


@final
class Backlog:
    """A bounded queue for many writers and one reader.

    When it is full the oldest message gives way: what a job is now matters more than what it was.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._waiting: deque[Message] = deque()
        self._in_flight = 0
        self._dropped = 0
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here

    @property
    def dropped(self) -> int:
        """How many messages have given way or were abandoned."""
        return self._dropped

    @property
    def unacknowledged(self) -> int:
        """How many messages wait to be taken, or were taken and not yet settled."""
        return len(self._waiting) + self._in_flight

    def put(self, message: Message) -> None:
        """Add a message at the end."""
        with self._lock:
            if len(self._waiting) >= self.capacity:
                self._waiting.popleft()
                self._dropped += 1
                self._report_full()
            self._waiting.append(message)

    def take(self) -> Message | None:
        """Return the oldest message, in flight until it is settled; None if there is none."""
        with self._lock:
            if not self._waiting:
                return None
            self._in_flight += 1
            return self._waiting.popleft()

    def settle(self, message: Message, *, is_delivered: bool) -> None:
        """Take a message out of flight, and tell its publisher if it was delivered."""
        with self._lock:
            self._in_flight = max(0, self._in_flight - 1)  # 0 already if it was abandoned
        if not is_delivered or message.on_ack is None:
            return
        try:
            message.on_ack()
        except Exception:  # noqa: BLE001  # anybody's function: what it raises is logged
            _LOG.exception("What follows the delivery of a message on %r failed", message.topic)

    def abandon(self) -> None:
        """Drop what was not acknowledged, and say how much it was."""
        with self._lock:
            lost = self.unacknowledged
            self._waiting.clear()
            self._in_flight = 0
            self._dropped += lost
        if lost:
            _LOG.warning("%s messages were not acknowledged by the MQTT broker in time", lost)

    def _report_full(self) -> None:
        # At 1, 2, 4, 8 ... lost messages: the outage of a night shall not fill the log.
        if self._dropped & (self._dropped - 1) == 0:
            _LOG.warning(
                "More than %s messages wait for the MQTT broker: the oldest are dropped, %s so far",
                self.capacity,
                self._dropped,
            )

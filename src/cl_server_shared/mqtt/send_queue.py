"""Messages that wait for the broker, or for its acknowledgement."""

import logging
import threading
from collections import deque
from typing import Final, final

from cl_server_shared.mqtt.messages import Message

_LOG: Final = logging.getLogger(__name__)


@final
class SendQueue:
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
        oldest: Message | None = None
        with self._lock:
            if len(self._waiting) >= self.capacity:
                oldest = self._waiting.popleft()
                self._dropped += 1
                self._report_full()
            self._waiting.append(message)
        if oldest is not None:
            oldest.tell(is_delivered=False)

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
        message.tell(is_delivered=is_delivered)

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

"""Messages that wait for the broker, or for its acknowledgement."""

import logging
import threading
from collections import deque
from typing import Final, final

from cl_server_shared.mqtt.messages import Message
from cl_server_shared.process.log_limits import Doubling

_LOG: Final = logging.getLogger(__name__)


@final
class SendQueue:
    """A bounded queue for many writers and one reader.

    When it is full the oldest message is dropped: a job's present state matters more than earlier
    ones.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity: Final = capacity
        self._waiting: Final[deque[Message]] = deque()
        self._in_flight = 0
        self._displaced: Final = Doubling(_LOG)
        self._unsent = 0
        # A signal handler may publish while its thread is in here.
        self._lock: Final = threading.RLock()

    @property
    def dropped(self) -> int:
        """How many messages were dropped, for newer ones or by `drop_all`."""
        return self._displaced.count + self._unsent

    @property
    def unacknowledged(self) -> int:
        """How many messages wait to be taken, or were taken and are not yet settled."""
        return len(self._waiting) + self._in_flight

    def put(self, message: Message) -> None:
        """Add a message at the end."""
        oldest: Message | None = None
        with self._lock:
            if len(self._waiting) >= self.capacity:
                oldest = self._waiting.popleft()
                self._displaced.add(
                    "More than %s messages wait for the MQTT broker: the oldest are dropped, "
                    "%s so far",
                    self.capacity,
                )
            self._waiting.append(message)
        if oldest is not None:
            oldest.report(is_delivered=False)

    def take(self) -> Message | None:
        """Return the oldest message, in flight until it is settled; None if there is none."""
        with self._lock:
            if not self._waiting:
                return None
            self._in_flight += 1
            return self._waiting.popleft()

    def settle(self, message: Message, *, is_delivered: bool) -> None:
        """Take a message out of flight, and report to its publisher whether it was delivered."""
        with self._lock:
            self._in_flight = max(0, self._in_flight - 1)  # 0 already after `drop_all`
        message.report(is_delivered=is_delivered)

    def drop_all(self) -> None:
        """Drop what is not acknowledged, and log how much that is."""
        with self._lock:
            lost = self.unacknowledged
            self._waiting.clear()
            self._in_flight = 0
            self._unsent += lost
        if lost:
            _LOG.warning("%s messages were not acknowledged by the MQTT broker in time", lost)

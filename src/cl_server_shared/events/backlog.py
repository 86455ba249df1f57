"""Messages that wait for the broker, or for its acknowledgement."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

_LOG: Final = logging.getLogger(__name__)


@final
@dataclass(slots=True, eq=False)  # frozen would cost a publisher as much as all the rest
class Message:
    """A payload to publish with QoS 1, or what makes it when its turn has come.

    *on_settled* is told whether the broker acknowledged it; False also when it gave way to others.
    With *is_retained* the broker keeps it for later subscribers; *properties* are user properties
    (MQTT 5.0, section 3.3.2.3.7).
    """

    topic: str
    payload: bytes | Callable[[], bytes]
    on_settled: Callable[[bool], object] | None = None
    is_retained: bool = False
    properties: Mapping[str, str] | None = None

    def rendered(self) -> bytes:
        """Return the payload."""
        return self.payload if isinstance(self.payload, bytes) else self.payload()

    def tell(self, *, is_delivered: bool) -> None:
        """Tell the publisher what became of this message; what that raises is logged."""
        if self.on_settled is None:
            return
        try:
            self.on_settled(is_delivered)
        except Exception:  # noqa: BLE001  # anybody's function: what it raises is logged
            _LOG.exception("What follows the end of a message on %r failed", self.topic)


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

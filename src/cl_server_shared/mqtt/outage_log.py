"""What is logged of a connection: once when it ends, and once when it is back."""

import logging
import threading
from typing import Final, final

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.send_queue import SendQueue
from cl_server_shared.process.log_limits import Outage

_LOG: Final = logging.getLogger(__name__)


@final
class OutageLog:
    """Logs when a broker goes away and when it comes back; used by one thread.

    Once *stopping* is set the connection is ended on purpose, and nothing is logged.
    """

    def __init__(self, broker: Broker, queue: SendQueue, stopping: threading.Event) -> None:
        self._broker: Final = broker
        self._queue: Final = queue
        self._stopping: Final = stopping
        self._outage: Final = Outage(
            _LOG,
            "%s is away: %s; %s",
            "%s is back; %s messages wait for it",
            working_level=logging.WARNING,
        )
        self._refusal: str | None = None

    def connected(self) -> None:
        """The broker has accepted the connection."""
        if not self._outage.is_on:
            _LOG.info("Connected to %s", self._broker)
        self._outage.end(self._broker, self._queue.unacknowledged)
        self._refusal = None

    def disconnected(self, reason: str) -> None:
        """The connection has ended, or none could be made."""
        if not self._stopping.is_set():
            capacity = self._queue.capacity
            waiting = f"up to {capacity} messages wait" if capacity > 1 else "it is tried again"
            self._outage.begin(self._broker, reason, waiting)

    def refused(self, reason: str) -> None:
        """The broker refuses us, or we do not trust it: somebody must correct a setting.

        That is logged even if the broker was away before for another reason.
        """
        if reason != self._refusal:
            self._refusal = reason
            self._outage.is_on = False
        self.disconnected(reason)

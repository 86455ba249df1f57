"""What the log is told of a connection: when it ends and when it is back, once each."""

import logging
import threading
from typing import Final, final

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.send_queue import SendQueue

_LOG: Final = logging.getLogger(__name__)


@final
class OutageLog:
    """Tells of a broker that goes away and comes back; used by one thread.

    Once *stopping* is set the end of the connection is our own doing, and no news.
    """

    def __init__(self, broker: Broker, backlog: SendQueue, stopping: threading.Event) -> None:
        self._broker = broker
        self._backlog = backlog
        self._stopping = stopping
        self._is_up: bool | None = None
        self._refusal: str | None = None

    def came_up(self) -> None:
        """The broker has accepted the connection."""
        if self._is_up is None:
            _LOG.info("Connected to %s", self._broker)
        elif not self._is_up:
            waiting = self._backlog.unacknowledged
            _LOG.warning("%s is back; %s messages wait for it", self._broker, waiting)
        self._is_up = True
        self._refusal = None

    def went_down(self, reason: str) -> None:
        """The connection has ended, or none could be made."""
        if self._is_up is not False:
            self._tell(reason)

    def was_refused(self, reason: str) -> None:
        """The broker does not want us, or we do not trust it: somebody must correct a setting.

        That is told even if the broker was away before for another reason.
        """
        if reason != self._refusal:
            self._tell(reason)
            self._refusal = reason

    def _tell(self, reason: str) -> None:
        if self._stopping.is_set():
            return
        capacity = self._backlog.capacity
        waiting = f"up to {capacity} messages wait" if capacity > 1 else "it is tried again"
        _LOG.warning("%s is away: %s; %s", self._broker, reason, waiting)
        self._is_up = False

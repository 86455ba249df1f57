"""One process's connection to one MQTT broker."""

import atexit
import logging
import os
import threading
from collections.abc import Callable
from typing import Final, final

from cl_server_shared.errors import ClServerError
from cl_server_shared.events.backlog import Backlog, Message
from cl_server_shared.events.mqtt_loop import Broker, NetworkLoop
from cl_server_shared.events.subscriptions import CallbackSubscription, Subscriptions

_LOG: Final = logging.getLogger(__name__)

_DRAIN_SECONDS = 2.0


@final
class Connection:
    """Publishes with QoS 1 and subscribes, in the background, for the process that made it.

    Thread and socket are made at the first use; a clean exit of the interpreter closes it.
    Payloads are bytes: what they mean is the caller's affair.
    """

    def __init__(self, broker: Broker, max_waiting: int) -> None:
        self.pid = os.getpid()
        self._broker = broker
        self._backlog = Backlog(max_waiting)
        self._subscriptions: Subscriptions[bytes] = Subscriptions(on_change=self._wake)
        self._loop: NetworkLoop | None = None
        self._is_closed = False
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here

    @property
    def dropped(self) -> int:
        """How many messages gave way in a full backlog, or were abandoned by `close`."""
        return self._backlog.dropped

    def publish(
        self, topic: str, payload: bytes, on_ack: Callable[[], object] | None = None
    ) -> bool:
        """Hand a message over at once; False: the connection is closed.

        *on_ack* is called in the network thread once the broker has acknowledged the message.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._backlog.put(Message(topic, payload, on_ack))
            self._start()
        self._wake()
        return True

    def subscribe(
        self, topic_filter: str, callback: Callable[[bytes], object]
    ) -> CallbackSubscription[bytes]:
        """Call *callback* with each payload, in the network thread, after every reconnect too.

        Raises:
            ClServerError: the connection is closed.
        """
        with self._lock:
            if self._is_closed:
                raise ClServerError(f"cannot subscribe to {topic_filter!r}: it was closed before")
            subscription = self._subscriptions.add(topic_filter, callback)
            self._start()
        return subscription

    def close(self) -> None:
        """Wait at most 2 s for acknowledgements, then disconnect; harmless when repeated."""
        if os.getpid() != self.pid:
            return  # a fork is ending: the connection is its parent's
        with self._lock:
            self._is_closed = True
            loop = self._loop
        if loop is not None:
            loop.stop(_DRAIN_SECONDS)
            atexit.unregister(self.close)

    def _start(self) -> None:
        if self._loop is not None:
            return
        loop = NetworkLoop(self._broker, self._backlog, self._subscriptions)
        try:
            loop.start()
        except RuntimeError as error:
            # The next call tries again; what waits is bounded.
            _LOG.warning("%s cannot be connected to now: %s", self._broker, error)
            return
        self._loop = loop
        atexit.register(self.close)

    def _wake(self) -> None:
        if self._loop is not None and os.getpid() == self.pid:
            self._loop.wake()

"""One process's connection to one MQTT broker."""

import atexit
import logging
import os
import threading
from collections.abc import Callable
from typing import Final, final

from cl_server_shared.errors import ClServerError
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage, Message
from cl_server_shared.mqtt.network_thread import NetworkThread
from cl_server_shared.mqtt.send_queue import SendQueue
from cl_server_shared.mqtt.subscriptions import CallbackSubscription, Subscriptions

_LOG: Final = logging.getLogger(__name__)

_DRAIN_SECONDS = 0.9  # a process shall be gone within 2 s, and its presence ends too


@final
class Connection:
    """Publishes with QoS 1 and subscribes, in the background, for the process that made it.

    Thread and socket are made at the first use; a clean exit of the interpreter closes it.
    Payloads are bytes: what they mean is the caller's affair. An *announcement* speaks for the
    connection itself, from `start` on. `close` waits *drain_seconds* for acknowledgements at most.
    """

    def __init__(
        self,
        broker: Broker,
        max_waiting: int,
        announcement: Announcement | None = None,
        drain_seconds: float = _DRAIN_SECONDS,
    ) -> None:
        self.pid = os.getpid()
        self._broker = broker
        self._announcement = announcement
        self._drain_seconds = drain_seconds
        self._backlog = SendQueue(max_waiting)
        self._subscriptions: Subscriptions[IncomingMessage] = Subscriptions(on_change=self._wake)
        self._loop: NetworkThread | None = None
        self._is_closed = False
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here

    @property
    def dropped(self) -> int:
        """How many messages gave way in a full backlog, or were abandoned by `close`."""
        return self._backlog.dropped

    def publish(
        self,
        topic: str,
        payload: bytes | Callable[[], bytes],
        on_settled: Callable[[bool], object] | None = None,
    ) -> bool:
        """Hand a message over at once; False: the connection is closed.

        A *payload* that is yet to be made is made in the network thread; it must not fail.

        *on_settled* is told whether the broker acknowledged the message, unless `close` comes
        first: in the network thread, or in that of a publisher for whom an older one gave way.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._backlog.put(Message(topic, payload, on_settled))
            if self._loop is None:
                self._start()
        self._wake()
        return True

    def subscribe(
        self, topic_filter: str, callback: Callable[[IncomingMessage], object]
    ) -> CallbackSubscription[IncomingMessage]:
        """Call *callback* with each message, in the network thread, after every reconnect too.

        Raises:
            ClServerError: the connection is closed.
        """
        with self._lock:
            if self._is_closed:
                raise ClServerError(f"cannot subscribe to {topic_filter!r}: it was closed before")
            subscription = self._subscriptions.add(topic_filter, callback)
            self._start()
        return subscription

    def start(self) -> None:
        """Have the network thread look at what is to be said, and start it if it does not run."""
        if os.getpid() != self.pid:
            return  # a fork says nothing of its parent's connection
        with self._lock:
            if not self._is_closed:
                self._start()
        self._wake()

    def close(self) -> None:
        """Wait for acknowledgements, then disconnect; harmless when repeated."""
        if os.getpid() != self.pid:
            return  # a fork is ending: the connection is its parent's
        with self._lock:
            self._is_closed = True
            loop = self._loop
        if loop is not None:
            loop.stop(self._drain_seconds)
            atexit.unregister(self.close)

    def _start(self) -> None:
        if self._loop is not None:
            return
        loop = NetworkThread(self._broker, self._backlog, self._subscriptions, self._announcement)
        try:
            loop.start()
        except RuntimeError as error:
            # The next call tries again; what waits is bounded.
            _LOG.warning("%s cannot be connected to now: %s", self._broker, error)
            return
        self._loop = loop
        atexit.register(self.close)

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.wake()

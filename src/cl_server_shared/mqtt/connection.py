"""One process's connection to one MQTT broker."""

import atexit
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

_DRAIN_SECONDS: Final = 0.9  # a process shall be gone within 2 s, and its presence ends too


@final
class Connection:
    """Publishes with QoS 1 and subscribes, in the background, for the process that made it.

    Thread and socket are made at the first use; a clean exit of the interpreter closes it. While
    the system refuses a thread, messages wait as they do for a broker that is away, and each call
    tries again. Payloads are bytes: what they mean is the caller's affair. An *announcement* is
    published of the connection itself. `close` waits *drain_seconds* for acknowledgements at most.
    """

    def __init__(
        self,
        broker: Broker,
        max_waiting: int,
        announcement: Announcement | None = None,
        drain_seconds: float = _DRAIN_SECONDS,
    ) -> None:
        self._pid: Final = os.getpid()
        self._broker: Final = broker
        self._announcement: Final = announcement
        self._drain_seconds: Final = drain_seconds
        self._queue: Final = SendQueue(max_waiting)
        self._subscriptions: Final = Subscriptions[IncomingMessage](on_change=self._follow)
        self._network: NetworkThread | None = None
        self._is_closed = False
        # A signal handler may publish while its thread is in here.
        self._lock: Final = threading.RLock()

    @property
    def dropped(self) -> int:
        """How many messages were dropped by a full queue, or by `close`."""
        return self._queue.dropped

    def publish(
        self,
        topic: str,
        payload: bytes | Callable[[], bytes],
        on_settled: Callable[[bool], object] | None = None,
    ) -> bool:
        """Hand a message over at once; False: the connection is closed.

        A *payload* that is yet to be made is made in the network thread; it must not fail.

        *on_settled* is called with whether the broker acknowledged the message, unless `close`
        comes first: in the network thread, or in that of a publisher for whom it was dropped.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._queue.put(Message(topic, payload, on_settled))
            network = self._network or self._open()
        network.wake()
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
            self._network = self._network or self._open()
            return self._subscriptions.add(topic_filter, callback)

    def start(self) -> None:
        """Start the network thread unless it runs; it was refused before, then."""
        network = self._network
        if network is not None and not network.is_running:
            network.wake()

    def wake(self) -> None:
        """Have the network thread check whether the announcement has a message that is due."""
        if os.getpid() != self._pid:
            return  # a fork announces nothing of its parent's connection
        with self._lock:
            if self._is_closed:
                return
            network = self._network or self._open()
        network.wake()

    def close(self) -> None:
        """Wait for acknowledgements, then disconnect; harmless when repeated."""
        if os.getpid() != self._pid:
            return  # a fork is ending: the connection is its parent's
        with self._lock:
            self._is_closed = True
            network = self._network
        if network is not None:
            network.stop(self._drain_seconds)
            atexit.unregister(self.close)

    def _open(self) -> NetworkThread:
        network = NetworkThread(self._broker, self._queue, self._subscriptions, self._announcement)
        self._network = network
        atexit.register(self.close)
        return network

    def _follow(self) -> None:
        if self._network is not None:
            self._network.wake()

"""The network thread of one MQTT connection."""

import codecs
import logging
import random
import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final, override

from cl_server_shared.events.backlog import Backlog
from cl_server_shared.events.mqtt_session import Session
from cl_server_shared.events.subscriptions import Subscriptions

_LOG: Final = logging.getLogger(__name__)

_TICK_SECONDS = 1.0  # paho wants its turn about once a second, for the keep-alive
_MIN_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 5.0
_STABLE_SECONDS = 0.2  # a broker that takes a connection and ends it at once is not back
_LEAVE_SECONDS = 0.3


@final
@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is, and after how many seconds without a sign of it it counts as away."""

    host: str
    port: int
    keepalive_seconds: int

    @override
    def __str__(self) -> str:
        return f"MQTT broker {self.host}:{self.port}"


@final
class NetworkLoop:
    """A thread that connects, serves the connection, and connects again, until it is stopped.

    The paho client lives in local variables of that thread: no publisher waits for a lock of
    paho's, and a fork inherits none. Paho's own thread (`loop_start`) was measured and left: it
    holds such a lock for 0.1 s while it sends 9,000 waiting messages, cannot connect once 1,023
    files are open (it uses `select`), and stopping it takes 5 s while a host does not answer.
    """

    def __init__(
        self, broker: Broker, backlog: Backlog, subscriptions: Subscriptions[bytes]
    ) -> None:
        self._broker = broker
        self._backlog = backlog
        self._subscriptions = subscriptions
        self._is_up: bool | None = None
        self._delay_seconds = _MIN_DELAY_SECONDS
        self._stopping = threading.Event()
        self._stop_at = 0.0
        self._waking = threading.RLock()  # a signal handler may publish while its thread is in here
        self._waker, self._woken = socket.socketpair()
        self._waker.settimeout(0)
        self._woken.settimeout(0)
        self._thread = threading.Thread(target=self._run, name=str(broker), daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system or an interpreter that is ending gives no more threads.
        """
        codecs.lookup("idna")  # else imported while connecting, and left in halves by a fork then
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at the backlog and the subscriptions."""
        # Full: it is awake already; closed: it has ended, which the lock keeps from happening here.
        with suppress(OSError), self._waking:
            self._waker.send(b"\0")

    def stop(self, within_seconds: float) -> None:
        """End the thread once all is acknowledged, after *within_seconds* at the latest.

        A thread that still waits for a silent host is left behind: it ends when that wait does.
        """
        if not self._stopping.is_set():
            self._stop_at = time.monotonic() + within_seconds
            self._stopping.set()
            self.wake()
        if self._thread is threading.current_thread():
            return  # a subscriber closes: the thread ends after it
        drain_seconds = within_seconds if self._backlog.unacknowledged else 0
        self._thread.join(drain_seconds + _LEAVE_SECONDS)
        self._backlog.abandon()

    def _run(self) -> None:
        session = Session(self._backlog, self._subscriptions, self._came_up, self._went_down)
        while not self._is_finished():
            started = time.monotonic()
            self._connect_and_serve(session)
            if time.monotonic() - started > _STABLE_SECONDS:
                self._delay_seconds = _MIN_DELAY_SECONDS
            self._pause()
        session.end()
        self._backlog.abandon()
        with self._waking:
            self._waker.close()
            self._woken.close()

    def _connect_and_serve(self, session: Session) -> None:
        host, port = self._broker.host, self._broker.port
        try:
            session.client.connect(host, port, self._broker.keepalive_seconds, clean_start=True)
            self._serve(session)
        except OSError as error:
            self._went_down(str(error))
        except Exception as error:  # noqa: BLE001  # a host that is no name, bytes that are no MQTT
            _LOG.debug("%s", self._broker, exc_info=True)
            self._went_down(repr(error))

    def _serve(self, session: Session) -> None:
        served = session.client.socket()
        if not isinstance(served, socket.socket):
            return
        # Else Nagle's algorithm waits 40 ms for the acknowledgement of every 20 messages.
        served.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(served, selectors.EVENT_READ)
            while session.client.socket() is served and not self._is_finished():
                writing = selectors.EVENT_WRITE if session.client.want_write() else 0
                selector.modify(served, selectors.EVENT_READ | writing)
                selector.select(self._tick_seconds())
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
                session.step()

    def _is_finished(self) -> bool:
        if not self._stopping.is_set():
            return False
        return self._backlog.unacknowledged == 0 or time.monotonic() >= self._stop_at

    def _tick_seconds(self) -> float:
        if not self._stopping.is_set():
            return _TICK_SECONDS
        return min(_TICK_SECONDS, max(0.0, self._stop_at - time.monotonic()))

    def _pause(self) -> None:
        """Wait before the next attempt, each time longer, and not all clients equally long."""
        if self._is_finished():
            return
        if self._stopping.is_set():
            time.sleep(_MIN_DELAY_SECONDS)
            return
        self._stopping.wait(self._delay_seconds * random.uniform(0.5, 1))  # noqa: S311  no secret
        self._delay_seconds = min(2 * self._delay_seconds, _MAX_DELAY_SECONDS)

    def _came_up(self) -> None:
        if self._is_up is None:
            _LOG.info("Connected to %s", self._broker)
        elif not self._is_up:
            waiting = self._backlog.unacknowledged
            _LOG.warning("%s is back; %s messages wait for it", self._broker, waiting)
        self._is_up = True

    def _went_down(self, reason: str) -> None:
        if self._is_up is not False and not self._stopping.is_set():
            capacity = self._backlog.capacity
            _LOG.warning("%s is away: %s; up to %s messages wait", self._broker, reason, capacity)
            self._is_up = False

"""The network thread of one MQTT connection."""

import codecs
import logging
import random
import selectors
import ssl
import threading
import time
from typing import Final, final, override

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.gathering_socket import GatheringSocket
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage
from cl_server_shared.mqtt.outage_log import OutageLog
from cl_server_shared.mqtt.send_queue import SendQueue
from cl_server_shared.mqtt.session import Session
from cl_server_shared.mqtt.subscriptions import Subscriptions
from cl_server_shared.mqtt.wake_socket import WakeSocket
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.fork import AfterFork, renew_after_fork

_LOG: Final = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0  # paho must be called about once a second, for the keep-alive
_MIN_DELAY_SECONDS: Final = 0.1
_MAX_DELAY_SECONDS: Final = 5.0
_STABLE_SECONDS: Final = 0.2  # a broker that takes a connection and ends it at once is not back
_DISCONNECT_SECONDS: Final = 0.2
_GATHER_SECONDS: Final = 0.002
_WAKER_LINGER_SECONDS: Final = 60.0


@final
class NetworkThread(AfterFork):
    """A thread that connects, serves the connection, and connects again, until it is stopped.

    It starts when it is woken first. The paho client lives in local variables of that thread: no
    publisher waits for a lock of paho's, and a fork inherits none. Paho's own thread (`loop_start`)
    was measured and left: it holds such a lock for 0.1 s while it sends 9,000 waiting messages,
    cannot connect once 1,023 files are open (it uses `select`), and stopping it takes 5 s while a
    host does not answer.
    """

    def __init__(
        self,
        broker: Broker,
        queue: SendQueue,
        subscriptions: Subscriptions[IncomingMessage],
        announcement: Announcement | None = None,
    ) -> None:
        self._broker: Final = broker
        self._queue: Final = queue
        self._subscriptions: Final = subscriptions
        self._announcement: Final = announcement
        self._delay_seconds = _MIN_DELAY_SECONDS
        self._stopping: Final = threading.Event()
        self._outages: Final = OutageLog(broker, queue, self._stopping)
        self._served: GatheringSocket | None = None
        self._wake_socket: WakeSocket | None = None
        self._stop_at = 0.0
        self._has_ended = False
        self._thread: Final = BackgroundThread(str(broker), self._run)
        self._waker: Final = BackgroundThread(
            f"{broker} waker", self._wake_selector, linger_seconds=_WAKER_LINGER_SECONDS
        )
        codecs.lookup("idna")  # else imported while connecting, and left in halves by a fork then
        renew_after_fork(self)

    @property
    def is_running(self) -> bool:
        """Whether there is a thread: the system may have refused it."""
        return self._thread.is_running

    def wake(self) -> None:
        """Have the thread check the queue and the subscriptions, in a moment.

        Writing to the socket that wakes a selector lets go of the interpreter's lock, and the woken
        thread keeps it: that costs a publisher 50 us. So a second thread does it, and gathers what
        comes within 2 ms.
        """
        if not self._has_ended and self._thread.wake() and not self._waker.wake():
            self._ring()

    def stop(self, within_seconds: float) -> None:
        """End the thread once all is acknowledged, after *within_seconds* at the latest.

        A thread that still waits for a silent host is left behind: it ends when that wait does.
        """
        if not self._stopping.is_set():
            self._begin_stop(within_seconds)
        if self._thread.is_current:
            return  # a subscriber closes: the thread ends after it
        drain_seconds = 0 if self._is_drained() else within_seconds
        left_seconds = self._stop_at + _DISCONNECT_SECONDS - time.monotonic()  # less when repeated
        wait_seconds = max(0, min(drain_seconds + _DISCONNECT_SECONDS, left_seconds))
        if self._thread.join(wait_seconds):
            self._has_ended = True
            self._waker.close(_DISCONNECT_SECONDS)
        self._queue.drop_all()

    @override
    def after_fork(self) -> None:
        """Let go of the connection, else the broker would think it alive when the parent dies."""
        self._has_ended = True
        if self._served is not None:
            self._served.abandon()

    def _begin_stop(self, within_seconds: float) -> None:
        self._stop_at = time.monotonic() + within_seconds
        if self._announcement is not None:
            self._announcement.end()
        self._stopping.set()
        if self.is_running or not self._is_drained():
            self.wake()

    def _run(self) -> None:
        if self._has_ended or self._is_finished():
            return
        wake_socket = self._wake_socket = WakeSocket()
        session = Session(
            self._broker, self._queue, self._subscriptions, self._announcement, self._outages
        )
        while not self._is_finished():
            started = time.monotonic()
            self._connect_and_serve(session, wake_socket)
            if time.monotonic() - started > _STABLE_SECONDS:
                self._delay_seconds = _MIN_DELAY_SECONDS
            self._pause()
        self._has_ended = True
        session.end()
        self._queue.drop_all()
        self._waker.close()
        wake_socket.close()

    def _connect_and_serve(self, session: Session, wake_socket: WakeSocket) -> None:
        try:
            session.connect()
            self._serve(session, wake_socket)
        except ssl.SSLCertVerificationError as error:
            self._outages.refused(f"its certificate is not trusted ({error.verify_message})")
        except OSError as error:
            self._outages.disconnected(str(error))
        except Exception as error:  # noqa: BLE001  # a host that is no name, bytes that are no MQTT
            _LOG.debug("%s", self._broker, exc_info=True)
            self._outages.disconnected(repr(error))

    def _serve(self, session: Session, wake_socket: WakeSocket) -> None:
        served = session.client.socket()
        if served is None:
            return  # refused: paho has closed it
        if not isinstance(served, GatheringSocket):
            raise TypeError(f"paho's socket is {served!r}, not the one that it was given")
        self._served = served
        with selectors.DefaultSelector() as selector:
            selector.register(wake_socket, selectors.EVENT_READ)
            selector.register(served, selectors.EVENT_READ)
            while session.client.socket() is served and not self._is_finished():
                writing = selectors.EVENT_WRITE if served.has_unsent else 0
                selector.modify(served, selectors.EVENT_READ | writing)
                selector.select(0 if served.pending() else self._tick_seconds(session))
                wake_socket.clear()
                session.step()
                served.flush()

    def _tick_seconds(self, session: Session) -> float:
        tick = min(_TICK_SECONDS, session.seconds_until_due())
        if not self._stopping.is_set():
            return tick
        return min(tick, max(0.0, self._stop_at - time.monotonic()))

    def _pause(self) -> None:
        """Wait before the next attempt, each time longer, and not all clients equally long."""
        if self._is_finished():
            return
        if self._stopping.is_set():
            time.sleep(_MIN_DELAY_SECONDS)
            return
        self._stopping.wait(self._delay_seconds * random.uniform(0.5, 1))  # noqa: S311  no secret
        self._delay_seconds = min(2 * self._delay_seconds, _MAX_DELAY_SECONDS)

    def _is_finished(self) -> bool:
        if not self._stopping.is_set():
            return False
        return self._is_drained() or time.monotonic() >= self._stop_at

    def _is_drained(self) -> bool:
        announcement = self._announcement
        has_final_message = announcement is not None and announcement.has_final_message
        return self._queue.unacknowledged == 0 and not has_final_message

    def _wake_selector(self) -> None:
        self._ring()
        time.sleep(_GATHER_SECONDS)

    def _ring(self) -> None:
        if self._wake_socket is not None:
            self._wake_socket.ring()

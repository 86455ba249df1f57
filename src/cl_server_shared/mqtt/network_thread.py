"""The network thread of one MQTT connection."""

import codecs
import logging
import random
import selectors
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final, final, override

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage
from cl_server_shared.mqtt.outage_log import OutageLog
from cl_server_shared.mqtt.paho_client import GatheringSocket
from cl_server_shared.mqtt.send_queue import SendQueue
from cl_server_shared.mqtt.session import Session
from cl_server_shared.mqtt.subscriptions import Subscriptions
from cl_server_shared.process.fork import AfterFork, renew_after_fork

_LOG: Final = logging.getLogger(__name__)

_TICK_SECONDS = 1.0  # paho wants its turn about once a second, for the keep-alive
_MIN_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 5.0
_STABLE_SECONDS = 0.2  # a broker that takes a connection and ends it at once is not back
_LEAVE_SECONDS = 0.2
_GATHER_SECONDS = 0.002


@final
class NetworkThread(AfterFork):
    """A thread that connects, serves the connection, and connects again, until it is stopped.

    The paho client lives in local variables of that thread: no publisher waits for a lock of
    paho's, and a fork inherits none. Paho's own thread (`loop_start`) was measured and left: it
    holds such a lock for 0.1 s while it sends 9,000 waiting messages, cannot connect once 1,023
    files are open (it uses `select`), and stopping it takes 5 s while a host does not answer.
    """

    def __init__(
        self,
        broker: Broker,
        backlog: SendQueue,
        subscriptions: Subscriptions[IncomingMessage],
        announcement: Announcement | None = None,
    ) -> None:
        self._broker = broker
        self._backlog = backlog
        self._subscriptions = subscriptions
        self._announcement = announcement
        self._delay_seconds = _MIN_DELAY_SECONDS
        self._stopping = threading.Event()
        self._link = OutageLog(broker, backlog, self._stopping)
        self._served: GatheringSocket | None = None
        self._stop_at = 0.0
        self._has_ended = False
        self._waking = threading.Lock()
        self._wanted = threading.Lock()  # free while somebody wants the thread to look
        self._wanted.acquire()
        self._waker, self._woken = socket.socketpair()
        self._waker.settimeout(0)
        self._woken.settimeout(0)
        self._thread = threading.Thread(target=self._run, name=str(broker), daemon=True)
        self._alarm = threading.Thread(target=self._ring, name=f"{broker} alarm", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system or an interpreter that is ending gives no more threads.
        """
        renew_after_fork(self)
        codecs.lookup("idna")  # else imported while connecting, and left in halves by a fork then
        self._alarm.start()
        try:
            self._thread.start()
        except RuntimeError:
            self._end_alarm()
            raise

    def wake(self) -> None:
        """Have the thread look at the backlog and the subscriptions, in a moment.

        A publisher only frees a lock. Writing to the socket that wakes a selector lets go of the
        interpreter's lock, and the woken thread keeps it: that costs 50 us. So another thread does
        it, and gathers what comes within 2 ms.
        """
        if self._wanted.locked():  # else the thread will look anyway, and an exception costs more
            with suppress(RuntimeError):  # another publisher has just freed it
                self._wanted.release()

    def _ring(self) -> None:
        while True:
            self._wanted.acquire()
            with self._waking:
                if self._has_ended:
                    return
                with suppress(OSError):  # full: the thread is awake already
                    self._waker.send(b"\0")
            time.sleep(_GATHER_SECONDS)

    def stop(self, within_seconds: float) -> None:
        """End the thread once all is acknowledged, after *within_seconds* at the latest.

        A thread that still waits for a silent host is left behind: it ends when that wait does.
        """
        if not self._stopping.is_set():
            self._stop_at = time.monotonic() + within_seconds
            if self._announcement is not None:
                self._announcement.end()
            self._stopping.set()
            self.wake()
        if self._thread is threading.current_thread():
            return  # a subscriber closes: the thread ends after it
        drain_seconds = 0 if self._is_drained() else within_seconds
        left_seconds = self._stop_at + _LEAVE_SECONDS - time.monotonic()  # less when repeated
        self._thread.join(max(0, min(drain_seconds + _LEAVE_SECONDS, left_seconds)))
        if not self._thread.is_alive():
            self._alarm.join()
        self._backlog.abandon()

    @override
    def after_fork(self) -> None:
        """Let go of the connection, else the broker would think it alive when the parent dies."""
        if self._served is not None:
            self._served.abandon()

    def _run(self) -> None:
        session = Session(
            self._broker, self._backlog, self._subscriptions, self._announcement, self._link
        )
        while not self._is_finished():
            started = time.monotonic()
            self._connect_and_serve(session)
            if time.monotonic() - started > _STABLE_SECONDS:
                self._delay_seconds = _MIN_DELAY_SECONDS
            self._pause()
        session.end()
        self._backlog.abandon()
        self._end_alarm()

    def _end_alarm(self) -> None:
        with self._waking:
            self._has_ended = True
            self._waker.close()
            self._woken.close()
        self.wake()

    def _connect_and_serve(self, session: Session) -> None:
        try:
            session.connect()
            self._serve(session)
        except ssl.SSLCertVerificationError as error:
            self._link.was_refused(f"its certificate is not trusted ({error.verify_message})")
        except OSError as error:
            self._link.went_down(str(error))
        except Exception as error:  # noqa: BLE001  # a host that is no name, bytes that are no MQTT
            _LOG.debug("%s", self._broker, exc_info=True)
            self._link.went_down(repr(error))

    def _serve(self, session: Session) -> None:
        served = session.client.socket()
        if served is None:
            return  # refused: paho has closed it
        if not isinstance(served, GatheringSocket):
            raise TypeError(f"paho's socket is {served!r}, not the one that it was given")
        self._served = served
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(served, selectors.EVENT_READ)
            while session.client.socket() is served and not self._is_finished():
                writing = selectors.EVENT_WRITE if served.has_unsent else 0
                selector.modify(served, selectors.EVENT_READ | writing)
                selector.select(0 if served.pending() else self._tick_seconds(session))
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
                session.step()
                served.flush()

    def _is_drained(self) -> bool:
        announcement = self._announcement
        has_last_words = announcement is not None and announcement.has_last_words
        return self._backlog.unacknowledged == 0 and not has_last_words

    def _is_finished(self) -> bool:
        if not self._stopping.is_set():
            return False
        return self._is_drained() or time.monotonic() >= self._stop_at

    def _tick_seconds(self, session: Session) -> float:
        tick = min(_TICK_SECONDS, session.quiet_seconds())
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

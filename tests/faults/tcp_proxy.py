"""A proxy in front of a broker, to be shut on its clients at any moment and opened again."""

import socket
import threading
from contextlib import suppress
from functools import partial
from typing import Final, Self, final

from tests.faults.acknowledgements import Acknowledgements
from tests.support.servers import Address

_LONGEST_READ: Final = 65_536


@final
class TcpProxy:
    """Forwards MQTT 5 connections; shut, it ends those that there are and lets no new one through.

    What a broker has sent before its end arrives: unlike the kernel of a broker that was killed, it
    resets no connection on which a client has just written. What is on its way in a shut proxy is
    lost, as in a network that fails.
    """

    def __init__(self, target: Address) -> None:
        self.acknowledged: Final[list[bytes]] = []
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: Final = Address(*self._server.getsockname())
        self._lock = threading.Lock()
        self._is_open = True
        self._through: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread out of `accept`
        self._threads[0].join()
        self._server.close()
        self.shut()
        for thread in self._threads:
            thread.join()

    def open(self) -> None:
        """Let connections through from now on."""
        with self._lock:
            self._is_open = True

    def shut(self) -> None:
        """End every connection; once this returns, nothing goes through any more."""
        with self._lock:
            self._is_open = False
            for side in self._through:
                _end(side, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                outside = self._server.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(outside,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, outside: socket.socket) -> None:
        if not self._is_open:
            outside.close()
            return
        with outside, suppress(OSError), socket.create_connection(self._target) as inside:
            with self._lock:
                if not self._is_open:
                    return
                self._through |= {outside, inside}
            seen = Acknowledgements()
            back = threading.Thread(
                target=partial(self._bring_back, inside, outside, seen), daemon=True
            )
            back.start()
            _bring(outside, inside, seen)
            back.join()
            with self._lock:
                self._through -= {outside, inside}

    def _bring_back(
        self, inside: socket.socket, outside: socket.socket, seen: Acknowledgements
    ) -> None:
        with suppress(OSError):  # one of them was ended
            while data := inside.recv(_LONGEST_READ):
                self.acknowledged.extend(seen.broker_sent(data))
                outside.sendall(data)
        _end(outside, socket.SHUT_WR)


def _bring(outside: socket.socket, inside: socket.socket, seen: Acknowledgements) -> None:
    """Forward until the client ends; for a broker that has gone, let the client write in vain."""
    has_gone = False
    with suppress(OSError):  # the client was ended
        while data := outside.recv(_LONGEST_READ):
            seen.client_sent(data)
            try:
                if not has_gone:
                    inside.sendall(data)
            except OSError:
                has_gone = True
    _end(inside, socket.SHUT_WR)


def _end(side: socket.socket, how: int) -> None:
    with suppress(OSError):  # its peer ended it first
        side.shutdown(how)

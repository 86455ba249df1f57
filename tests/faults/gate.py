"""A door in front of a broker, to be shut on its clients at any moment and opened again."""

import socket
import threading
from contextlib import suppress
from typing import Final, Self, final

from tests.servers import Address


@final
class Gate:
    """Forwards TCP connections; shut, it ends those that there are and lets no new one through.

    What a client was sent before, it has; what is on its way in a shut gate is lost, as in a
    network that fails.
    """

    def __init__(self, target: Address) -> None:
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
                _end(side)

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
            back = threading.Thread(target=_forward, args=(inside, outside), daemon=True)
            back.start()
            _forward(outside, inside)
            back.join()
            with self._lock:
                self._through -= {outside, inside}


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # one of them was ended
        while data := source.recv(65536):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(side: socket.socket) -> None:
    with suppress(OSError):  # its peer ended it first
        side.shutdown(socket.SHUT_RDWR)

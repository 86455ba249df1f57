"""A socket for paho that writes and reads in large pieces."""

import socket
import ssl
from contextlib import suppress
from typing import Final, final

_MOST_AT_ONCE: Final = 65_536


@final
class GatheringSocket:
    """Writes what has gathered in one go, and reads all that there is.

    Paho writes each packet by itself and reads each in three parts. At each such call Python's lock
    changes hands, and the thread that changes jobs waits for the one that announces that: it cost
    a job's change as much as all the rest of its announcement.

    Args:
        connected: a socket that is connected already; TLS may shake hands later.
    """

    def __init__(self, connected: socket.socket) -> None:
        # Else Nagle's algorithm waits 40 ms for the acknowledgement of what was written before.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected: Final = connected
        self._read: bytes = b""
        self._next = 0
        self._unsent = bytearray()
        self._failure: OSError | None = None

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait to be written."""
        return bool(self._unsent) and self._failure is None

    def send(self, buffer: bytes | bytearray) -> int:
        """Keep bytes for `flush`.

        Raises:
            OSError: the connection failed.
        """
        if self._failure is not None:
            raise self._failure
        self._unsent += buffer
        return len(buffer)

    def flush(self) -> None:
        """Write as much as the network takes; a failure is raised by the next `send` or `recv`."""
        if not self.has_unsent:
            return
        try:
            sent = self._connected.send(self._unsent)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._failure = error
            return
        del self._unsent[:sent]

    def recv(self, buffer_size: int) -> bytes:
        """Return some bytes, at most *buffer_size*; none at the end.

        Raises:
            BlockingIOError: there are none yet.
            OSError: the connection failed.
        """
        if self._next == len(self._read):
            if self._failure is not None:
                raise self._failure
            self._read, self._next = self._connected.recv(_MOST_AT_ONCE), 0
        begin, self._next = self._next, min(self._next + buffer_size, len(self._read))
        return self._read[begin : self._next]

    def pending(self) -> int:
        """Return how many bytes were read off the network and wait: no selector knows of them."""
        connected = self._connected
        undelivered = connected.pending() if isinstance(connected, ssl.SSLSocket) else 0
        return len(self._read) - self._next + undelivered

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._connected.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # as sockets have it
        """Let calls wait, or not."""
        self._connected.setblocking(flag)

    def close(self) -> None:
        """Write what can be written, and close."""
        with suppress(ValueError):  # it is closed already
            self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Close without a DISCONNECT packet, as a fork does with its parent's connection."""
        self._connected.close()

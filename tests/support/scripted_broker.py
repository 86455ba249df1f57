"""A peer on the loopback interface that says exactly what a test wants it to say, or nothing."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Self, final

from tests.support.servers import Address

CONNECT: Final = 0x10
PUBLISH: Final = 0x30
SUBSCRIBE: Final = 0x80
UNSUBSCRIBE: Final = 0xA0
DISCONNECT: Final = 0xE0

CONNACK: Final = b"\x20\x03\x00\x00\x00"
CONNACK_RECEIVE_MAXIMUM_5: Final = b"\x20\x06\x00\x00\x03\x21\x00\x05"
CONNACK_NOT_AUTHORIZED: Final = b"\x20\x03\x00\x87\x00"
CONNACK_UNKNOWN_PROPERTY: Final = b"\x20\x06\x00\x00\x03\x7f\x00\x05"


@final
class ScriptedBroker:
    """Accepts connections, answers the first bytes of each with *greeting*, and notes what comes.

    The greeting is sent in one piece: with *tls*, up to 16 KiB of it are one record. With *refuses*
    it answers every SUBSCRIBE and message of QoS 1 with "Not authorized", else with nothing.
    `packets` holds the types of the MQTT packets received, the high half of their first byte.
    """

    def __init__(
        self,
        greeting: bytes = b"",
        tls: ssl.SSLContext | None = None,
        *,
        refuses: bool = False,
    ) -> None:
        self._greeting = greeting
        self._tls = tls
        self._refuses = refuses
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: Final = Address(*self._server.getsockname())
        self.packets: list[int] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread out of `accept`
        self._thread.join()
        self._server.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._server.accept()[0]
            except OSError:
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(ConnectionResetError), connection.makefile("rb") as stream:
            while first := stream.read(1):
                body = stream.read(_remaining_length(stream.read(1)[0] for _ in range(4)))
                self.packets.append(first[0] & 0xF0)
                if first[0] == CONNECT:
                    connection.sendall(self._greeting)
                if self._refuses and first[0] & 0xF0 == PUBLISH:
                    connection.sendall(_refusal(body))
                if self._refuses and first[0] & 0xF0 == SUBSCRIBE:
                    connection.sendall(b"\x90\x04" + body[:2] + b"\x00\x87")


def _refusal(publish: bytes) -> bytes:
    """Answer a PUBLISH: its packet identifier follows its topic (MQTT 5.0, section 3.3.2)."""
    end_of_topic = 2 + int.from_bytes(publish[:2])
    return b"\x40\x03" + publish[end_of_topic : end_of_topic + 2] + b"\x87"


def _remaining_length(parts: Iterator[int]) -> int:
    """Read the length of a packet: seven bits a byte, lowest first (MQTT 5.0, section 1.5.5)."""
    length = 0
    for index, part in enumerate(parts):
        length |= (part & 0x7F) << 7 * index
        if part < 0x80:
            break
    return length

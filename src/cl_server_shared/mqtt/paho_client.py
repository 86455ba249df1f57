"""The socket under a paho client."""

import secrets
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, final, override

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.messages import Message

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike


import ssl
from contextlib import suppress
from typing import Final


@final
class _Client(Client):
    """A client on a `GatheringSocket`.

    Paho types its socket as a protocol, since its own websockets are none of Python's, but has no
    public way to give it one.
    """

    @override
    def _create_socket(self) -> "SocketLike":
        connected = super()._create_socket()
        return GatheringSocket(connected) if isinstance(connected, socket.socket) else connected


def new_client(broker: Broker, will: Message | None) -> Client:
    """Return a client for MQTT 5 with a random id, with login and will, but without TLS yet."""
    client = _Client(
        CallbackAPIVersion.VERSION2,
        # At most 23 letters and digits: every broker takes that (MQTT 5.0, section 3.1.3.1).
        client_id=f"clserver{secrets.token_hex(7)}",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    username, password = broker.security.username, broker.security.password
    if username is not None:
        client.username_pw_set(username, None if password is None else password.get_secret_value())
    if will is not None:
        properties = user_properties(PacketTypes.WILLMESSAGE, will)
        client.will_set(will.topic, will.rendered(), 1, will.is_retained, properties)
    return client


def user_properties(packet_type: int, message: Message) -> Properties | None:
    """Return the user properties that a packet carries for *message*; None: none."""
    if not message.properties:
        return None
    properties = Properties(packet_type)
    properties.UserProperty = list(message.properties.items())
    return properties


def read_user_properties(message: MQTTMessage) -> Mapping[str, str]:
    """Return the user properties of *message*; of two of one name the last counts."""
    pairs: list[tuple[str, str]] = getattr(message.properties, "UserProperty", [])
    return dict(pairs)


def number_of(properties: Properties | None, name: str, default: int) -> int:
    """Read a numeric property; paho keeps each as an attribute that may be absent."""
    value: object = getattr(properties, name, default)
    return value if isinstance(value, int) else default


_MOST_AT_ONCE: Final = 65_536


@final
class GatheringSocket:
    """Writes what has gathered in one go, and reads all that there is.

    Paho writes each packet by itself and reads each in three parts. At each such call Python's lock
    changes hands, and the thread that changes jobs waits for the one that tells of them: that cost
    a job's change as much as all the rest of announcing it.

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
        """Tell whether bytes wait to be written."""
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
        """Close without a word, as a forked process does with its parent's connection."""
        self._connected.close()

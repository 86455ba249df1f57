"""A paho client on a socket of ours, and the properties of its packets."""

import secrets
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, final, override

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.gathering_socket import GatheringSocket
from cl_server_shared.mqtt.messages import Message

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike


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
        properties = _user_properties(PacketTypes.WILLMESSAGE, will)
        client.will_set(will.topic, will.rendered(), 1, will.is_retained, properties)
    return client


def publish(client: Client, message: Message) -> int:
    """Send *message* with QoS 1; return the number that its acknowledgement will have."""
    properties = _user_properties(PacketTypes.PUBLISH, message)
    rendered, retain = message.rendered(), message.is_retained
    return client.publish(message.topic, rendered, 1, retain, properties).mid


def _user_properties(packet_type: int, message: Message) -> Properties | None:
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


def number_of(properties: object, name: str, default: int) -> int:
    """Read a numeric property of a packet; paho keeps each as an attribute that may be absent."""
    value: object = getattr(properties, name, default)
    return value if isinstance(value, int) else default

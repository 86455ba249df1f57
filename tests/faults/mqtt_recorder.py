"""A subscriber that shares no line with the library: paho's client, MQTT 5, a lasting session."""

import threading
from collections.abc import Callable
from typing import Final, Self, final
from uuid import uuid4

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.servers import Address
from tests.support.waiting import wait_until

_FOR_EVER: Final = 0xFFFF_FFFF
_PAUSE_SECONDS: Final = 0.02
_MARKER: Final = b"marker "


@final
class MqttRecorder:
    """Writes down every message on a topic, from its `with` block's start to its end.

    Its session outlives its connection (clean start false), and it comes back within a few
    hundredths of a second: long before a publisher that waits between its attempts.

    *on_payload* gets each payload in its thread as it comes.

    A broker that is killed with an acknowledgement unread resets the connection, and paho, which
    meets that when it acknowledges the next message, throws away what it has not read: let it reach
    such a broker through a `TcpProxy`.
    """

    def __init__(
        self, broker: Address, topic: str, on_payload: Callable[[bytes], object] | None = None
    ) -> None:
        self.payloads: Final[list[bytes]] = []
        self.grants = 0
        self._markers: Final[set[bytes]] = set()
        self._broker = broker
        self._topic = topic
        self._on_payload = on_payload
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            f"recorder{uuid4().hex[:15]}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def await_grant(self, number: int = 1) -> None:
        """Return once the subscription was granted so often, on one connection after the other."""
        wait_until(lambda: self.grants >= number, 30)

    def catch_up(self) -> None:
        """Return once it has all that the broker acknowledged before this call."""
        marker = _MARKER + uuid4().bytes
        self._client.publish(self._topic, marker, qos=1)
        wait_until(lambda: marker in self._markers)

    def __enter__(self) -> Self:
        self._thread.start()
        self.await_grant()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ending.set()
        self._thread.join()
        self._client.disconnect()

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._client.socket() is None:
                self._connect()
            else:
                self._client.loop(_PAUSE_SECONDS)

    def _connect(self) -> None:
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = _FOR_EVER
        try:
            self._client.connect(*self._broker, clean_start=False, properties=lasting)
        except OSError:  # the broker is away: that is what these tests are about
            self._ending.wait(_PAUSE_SECONDS)

    def _on_connect(
        self,
        client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        _mid: int,
        _reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self.grants += 1

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        if payload.startswith(_MARKER):
            self._markers.add(payload)
            return
        self.payloads.append(payload)
        if self._on_payload is not None:
            self._on_payload(payload)

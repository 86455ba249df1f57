"""An independent MQTT subscriber: paho's own client, as anybody would use it."""

import threading
from typing import NamedTuple, Self, final

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.servers import Address


class Received(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


@final
class Listener:
    """Listens in its `with` block; on entering it the broker has granted the subscription."""

    def __init__(
        self,
        broker: Address,
        topic_filter: str,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.received: list[Received] = []
        self._broker = broker
        self._filter = topic_filter
        self._granted = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    @property
    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.received]

    def __enter__(self) -> Self:
        self._client.connect(*self._broker)
        self._client.loop_start()
        if not self._granted.wait(10):
            raise TimeoutError(f"no subscription to {self._filter} at {self._broker}")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        client.subscribe(self._filter, qos=1)

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        _mid: int,
        _reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._granted.set()

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self.received.append(
            Received(message.topic, bytes(message.payload), message.qos, message.retain)
        )

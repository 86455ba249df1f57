"""What workers announce, as any MQTT client sees it."""

import json
from typing import TypedDict, cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.connection import Connection
from tests.support.listener import Listener, Received
from tests.support.servers import Address
from tests.support.waiting import wait_until

MQTT_5 = MQTTProtocolVersion.MQTTv5


class PresenceFields(TypedDict):
    id: str
    worker_id: str
    capabilities: list[str]
    idle_count: int
    timestamp: int
    session: str


def read(payload: bytes) -> PresenceFields:
    return cast("PresenceFields", json.loads(payload))


def newest(listener: Listener) -> PresenceFields | None:
    """Return what a worker announced last, unless it was cleared."""
    payloads = listener.payloads
    return read(payloads[-1]) if payloads and payloads[-1] else None


def publish(broker: Address, topic: str, payload: bytes) -> None:
    """Publish one message and wait until the broker has it."""
    settled: list[bool] = []
    connection = Connection(Broker(*broker), max_waiting=1)
    connection.publish(topic, payload, settled.append)
    wait_until(lambda: settled)
    connection.close()


def keep(broker: Address, topic: str, payload: bytes) -> None:
    """Publish one retained message; an empty one clears the topic."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTT_5)
    client.connect(*broker)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def kept(
    broker: Address,
    prefix: str,
    reader: Address | None = None,
    protocol: MQTTProtocolVersion = MQTT_5,
) -> list[Received]:
    """Return what the broker keeps below *prefix*: a new subscriber gets it before all else."""
    with Listener(reader or broker, f"{prefix}/#", protocol) as listener:
        publish(broker, f"{prefix}/the/end", b"end")
        wait_until(lambda: b"end" in listener.payloads)
    return [each for each in listener.received if each.payload != b"end"]

"""The broadcasters that bring events to subscribers, made alike."""

from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.protocols.events import Broadcaster
from tests.support.servers import Address


def make_memory(_broker: Address, topic: str) -> Broadcaster:
    return MemoryBroadcaster(topic)


def make_mqtt(broker: Address, topic: str) -> Broadcaster:
    return MqttBroadcaster(broker.host, broker.port, topic)

"""The broadcaster that `BROADCAST_TYPE` chooses.

What MQTT needs is imported only where it is chosen, so that a service without a broker does not
import a client for one.
"""

from cl_server_shared.config import FolderlessSettings
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.mqtt.settings import broker_of
from cl_server_shared.protocols.events import Broadcaster


def choose_broadcaster(settings: FolderlessSettings) -> Broadcaster:
    """Return a new broadcaster.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    match settings.BROADCAST_TYPE:
        case "none":
            return NoneBroadcaster()
        case "memory":
            return MemoryBroadcaster(settings.MQTT_TOPIC)
        case "mqtt":
            return _mqtt_broadcaster(settings)


def _mqtt_broadcaster(settings: FolderlessSettings) -> Broadcaster:
    from cl_server_shared.events.mqtt import MqttBroadcaster  # noqa: PLC0415  # see above

    broker = broker_of(settings)
    return MqttBroadcaster(broker.host, broker.port, settings.MQTT_TOPIC, security=broker.security)

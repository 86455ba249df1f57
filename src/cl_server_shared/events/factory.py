"""What `BROADCAST_TYPE` chooses: a broadcaster, and how workers and services meet.

What MQTT needs is imported only where it is chosen, so that a service without a broker does not
import a client for one.
"""

from cl_server_shared.config import FolderlessSettings
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.mqtt.broker import security_of
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
            from cl_server_shared.events.mqtt import MqttBroadcaster  # noqa: PLC0415  # paho: only who needs it

            return MqttBroadcaster(
                settings.MQTT_BROKER,
                settings.MQTT_PORT,
                settings.MQTT_TOPIC,
                security=security_of(settings),
            )

"""The broker that the settings name."""

from cl_server_shared.config import FolderlessSettings
from cl_server_shared.mqtt.broker import Broker, Security


def broker_of(settings: FolderlessSettings) -> Broker:
    """Return the broker that the settings name.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    security = Security(
        username=settings.MQTT_USERNAME,
        password=settings.MQTT_PASSWORD,
        tls=settings.MQTT_TLS,
        ca_file=settings.MQTT_CA_FILE,
    )
    return Broker(settings.MQTT_BROKER, settings.MQTT_PORT, security=security)

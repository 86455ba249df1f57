"""What `BROADCAST_TYPE` chooses: a broadcaster, and how workers and services meet.

What MQTT needs is imported only where it is chosen, so that a service without a broker does not
import a client for one.
"""

from typing import Final

from cl_server_shared.config import FolderlessSettings
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.memory_workers import MemoryPresence, MemoryWorkerRegistry
from cl_server_shared.events.mqtt_broker import Broker, Security
from cl_server_shared.events.none import NoneBroadcaster, NonePresence, NoneWorkerRegistry
from cl_server_shared.models import WorkerStatus
from cl_server_shared.protocols import Broadcaster, Clock, Presence, WorkerRegistry

_FORGET_AFTER_HEARTBEATS: Final = 3


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
                security=_security(settings),
            )


def choose_presence(
    settings: FolderlessSettings,
    status: WorkerStatus,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
) -> Presence:
    """Return a new presence of the worker that *status* describes; it is told of at once.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    match settings.BROADCAST_TYPE:
        case "none":
            return NonePresence()
        case "memory":
            return MemoryPresence(memory_workers, status, clock)
        case "mqtt":
            from cl_server_shared.events.presence import MqttPresence  # noqa: PLC0415  # likewise

            return MqttPresence(
                _broker(settings),
                status,
                topic_prefix=settings.CAPABILITY_TOPIC_PREFIX,
                heartbeat_seconds=settings.MQTT_HEARTBEAT_INTERVAL,
                clock=clock,
            )


def choose_registry(
    settings: FolderlessSettings, clock: Clock, memory_workers: MemoryWorkerRegistry
) -> WorkerRegistry:
    """Return a registry of the workers that are told of; it listens at once.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    match settings.BROADCAST_TYPE:
        case "none":
            return NoneWorkerRegistry()
        case "memory":
            return memory_workers
        case "mqtt":
            from cl_server_shared.events.registry import MqttWorkerRegistry  # noqa: PLC0415

            return MqttWorkerRegistry(
                _broker(settings),
                topic_prefix=settings.CAPABILITY_TOPIC_PREFIX,
                forget_after_seconds=_FORGET_AFTER_HEARTBEATS * settings.MQTT_HEARTBEAT_INTERVAL,
                clock=clock,
            )


def _broker(settings: FolderlessSettings) -> Broker:
    return Broker(settings.MQTT_BROKER, settings.MQTT_PORT, security=_security(settings))


def _security(settings: FolderlessSettings) -> Security:
    return Security(
        username=settings.MQTT_USERNAME,
        password=settings.MQTT_PASSWORD,
        tls=settings.MQTT_TLS,
        ca_file=settings.MQTT_CA_FILE,
    )

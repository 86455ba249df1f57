"""The presence and the registry of workers that `BROADCAST_TYPE` chooses.

What MQTT needs is imported only where it is chosen, so that a service without a broker does not
import a client for one.
"""

from typing import Final

from cl_server_shared.config import FolderlessSettings
from cl_server_shared.models import WorkerStatus
from cl_server_shared.mqtt.settings import broker_of
from cl_server_shared.presence.memory import MemoryPresence, MemoryWorkerRegistry
from cl_server_shared.presence.none import NonePresence, NoneWorkerRegistry
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.presence import Presence, WorkerRegistry

_FORGET_AFTER_HEARTBEATS: Final = 3


def choose_presence(
    settings: FolderlessSettings,
    status: WorkerStatus,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
) -> Presence:
    """Return a new presence of the worker that *status* describes; it is announced at once.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    match settings.BROADCAST_TYPE:
        case "none":
            return NonePresence()
        case "memory":
            return MemoryPresence(memory_workers, status, clock)
        case "mqtt":
            from cl_server_shared.presence.presence import MqttPresence  # noqa: PLC0415  # see above

            return MqttPresence(
                broker_of(settings),
                status,
                topic_prefix=settings.CAPABILITY_TOPIC_PREFIX,
                heartbeat_seconds=settings.MQTT_HEARTBEAT_INTERVAL,
                clock=clock,
            )


def choose_registry(
    settings: FolderlessSettings, clock: Clock, memory_workers: MemoryWorkerRegistry
) -> WorkerRegistry:
    """Return a registry of the workers that are announced; it subscribes at once.

    Raises:
        ConfigError: a setting of the broker cannot be used.
    """
    match settings.BROADCAST_TYPE:
        case "none":
            return NoneWorkerRegistry()
        case "memory":
            return memory_workers
        case "mqtt":
            from cl_server_shared.presence.registry import MqttWorkerRegistry  # noqa: PLC0415  # see above

            return MqttWorkerRegistry(
                broker_of(settings),
                topic_prefix=settings.CAPABILITY_TOPIC_PREFIX,
                forget_after_seconds=_FORGET_AFTER_HEARTBEATS * settings.MQTT_HEARTBEAT_INTERVAL,
                clock=clock,
            )

"""Which workers there are, as they tell through an MQTT broker."""

import logging
import math
import os
from typing import Final, final, override

from cl_server_shared.errors import ConfigError
from cl_server_shared.models import WorkerStatus
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.mqtt.messages import IncomingMessage
from cl_server_shared.mqtt.topics import topic_filter, topic_name
from cl_server_shared.presence.payload import NotAWorker, read_status, worker_id_of
from cl_server_shared.presence.registry_state import (
    RegistryState,
    after_hearing,
    idle_by_capability,
    present_workers,
)
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.presence import WorkerRegistry

_LOG: Final = logging.getLogger(__name__)


@final
class MqttWorkerRegistry(WorkerRegistry):
    """Listens on `{topic_prefix}/+`, over a connection of its own, from the start on.

    Who was there before is known once the broker has answered. No call waits for it; while it is
    away the workers fade, each *forget_after_seconds* after its last sign of life. A forked child
    listens for itself from its first call on.

    Args:
        broker: where to listen.
        topic_prefix: the topic above those of all workers.
        forget_after_seconds: more than 0; longer than the pause between two signs of life.
        clock: tells how old a message is.

    Raises:
        ConfigError: an argument is outside what is allowed.
    """

    def __init__(
        self, broker: Broker, *, topic_prefix: str, forget_after_seconds: float, clock: Clock
    ) -> None:
        if not 0 < forget_after_seconds < math.inf:
            raise ConfigError(
                f"forget_after_seconds is {forget_after_seconds}: it must be finite and more than 0"
            )
        self._broker = broker
        self._filter = topic_filter(f"{topic_name(topic_prefix)}/+")
        self._empty = RegistryState(round(forget_after_seconds * 1000))
        self._clock = clock
        self._is_closed = False
        self._listeners: dict[int, _Listener] = {}
        self._listener()

    @override
    def workers(self) -> tuple[WorkerStatus, ...]:
        if self._is_closed:
            return ()
        return present_workers(self._listener().view, self._clock.now_ms())

    @override
    def capabilities(self) -> dict[str, int]:
        return idle_by_capability(self.workers())

    @override
    def close(self) -> None:
        self._is_closed = True
        listener = self._listeners.get(os.getpid())
        if listener is not None:
            listener.connection.close()

    def _listener(self) -> "_Listener":
        """Return this process's listener; no lock, which a fork could find locked."""
        pid = os.getpid()
        listener = self._listeners.get(pid)
        if listener is None:
            made = _Listener(Connection(self._broker, 1), self._empty, self._clock)
            listener = self._listeners.setdefault(pid, made)
            if listener is made:
                made.connection.subscribe(self._filter, made.hear)
        return listener


@final
class _Listener:
    """What one process has heard; one thread writes, any may read."""

    def __init__(self, connection: Connection, view: RegistryState, clock: Clock) -> None:
        self.connection = connection
        self.view = view
        self._clock = clock
        self._has_warned = False

    def hear(self, delivery: IncomingMessage) -> None:
        """Take in a message."""
        heard = read_status(delivery)
        if isinstance(heard, NotAWorker):
            level = logging.DEBUG if self._has_warned else logging.WARNING
            self._has_warned = True
            _LOG.log(level, "Passed over on %r, no worker: %s", delivery.topic, heard.reason)
        self.view = after_hearing(
            self.view,
            worker_id_of(delivery.topic),
            heard,
            self._clock.now_ms(),
            is_retained=delivery.is_retained,
        )

"""Which workers there are, as they announce it through an MQTT broker."""

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
from cl_server_shared.presence.payload import NotAWorker, read_presence, worker_id_of
from cl_server_shared.presence.registry_state import (
    RegistryState,
    after_message,
    idle_by_capability,
    present_workers,
)
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.log_limits import FirstOnly
from cl_server_shared.protocols.presence import WorkerRegistry

_LOG: Final = logging.getLogger(__name__)


@final
class MqttWorkerRegistry(WorkerRegistry):
    """Subscribes to `{topic_prefix}/+`, over a connection of its own, from the start on.

    Workers that were there before are known once the broker has answered. No call waits for it;
    while it is away the workers are forgotten, each *forget_after_seconds* after its last message.
    A forked child subscribes for itself at its first call. Where the system refuses the thread that
    receives, the next call tries again.

    Args:
        broker: where to subscribe.
        topic_prefix: the topic above those of all workers.
        forget_after_seconds: more than 0; longer than the pause between two announcements.
        clock: dates each message.

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
        self._broker: Final = broker
        self._filter: Final = topic_filter(f"{topic_name(topic_prefix)}/+")
        self._empty: Final = RegistryState(round(forget_after_seconds * 1000))
        self._clock: Final = clock
        self._is_closed = False
        self._receivers: Final[dict[int, _Receiver]] = {}
        self._receiver()

    @override
    def workers(self) -> tuple[WorkerStatus, ...]:
        if self._is_closed:
            return ()
        receiver = self._receiver()
        receiver.connection.start()
        return present_workers(receiver.state, self._clock.now_ms())

    @override
    def capabilities(self) -> dict[str, int]:
        return idle_by_capability(self.workers())

    @override
    def close(self) -> None:
        self._is_closed = True
        receiver = self._receivers.get(os.getpid())
        if receiver is not None:
            receiver.connection.close()

    def _receiver(self) -> "_Receiver":
        """Return this process's receiver; no lock, which a fork could find locked."""
        pid = os.getpid()
        receiver = self._receivers.get(pid)
        if receiver is None:
            made = _Receiver(Connection(self._broker, 1), self._empty, self._clock)
            receiver = self._receivers.setdefault(pid, made)
            if receiver is made:
                made.connection.subscribe(self._filter, made.receive)
        return receiver


@final
class _Receiver:
    """What one process has received; one thread writes, any may read."""

    def __init__(self, connection: Connection, state: RegistryState, clock: Clock) -> None:
        self.connection: Final = connection
        self.state = state
        self._clock: Final = clock
        self._ignored: Final = FirstOnly(_LOG)

    def receive(self, message: IncomingMessage) -> None:
        """Take in a message."""
        read = read_presence(message)
        if isinstance(read, NotAWorker):
            self._ignored.warn("Ignored on %r, no worker: %s", message.topic, read.reason)
        self.state = after_message(
            self.state,
            worker_id_of(message.topic),
            read,
            self._clock.now_ms(),
            is_retained=message.is_retained,
        )

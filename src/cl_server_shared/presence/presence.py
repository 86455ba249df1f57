"""How services learn that a worker is there: a retained message that the broker clears."""

import logging
import time
from typing import Final, final, override

from cl_server_shared.errors import ConfigError
from cl_server_shared.models import WorkerStatus
from cl_server_shared.models.validation import require_range
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage, Message
from cl_server_shared.presence.payload import SESSION, encode_status, read_status, worker_topic
from cl_server_shared.presence.presence_state import (
    PresenceState,
    after_connecting,
    after_hearing,
    after_speaking,
    seconds_until_due,
)
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.presence import Presence

_LOG: Final = logging.getLogger(__name__)

# Enough to hand the goodbye over: what was handed over is read before the end of the connection,
# and where it was not, the will says the same.
_DRAIN_SECONDS = 0.2


@final
class MqttPresence(Presence):
    """Tells of a worker on `{topic_prefix}/{worker_id}`, over a connection of its own.

    That is retained, with QoS 1, and told again every *heartbeat_seconds*, at each change, and
    whenever the broker is back. `close` and a clean exit of the interpreter clear it; if the
    process dies the broker does, by the connection's last will (MQTT 5.0, section 3.1.2.5).

    Of two workers with one id the one that started last is told of; the other logs a warning and
    falls silent. A forked child has no presence.

    Args:
        broker: where to tell it.
        status: who it is; `new_status` makes one.
        topic_prefix: the topic above those of all workers.
        heartbeat_seconds: more than 0.
        clock: dates each message.

    Raises:
        ConfigError: an argument is outside what is allowed.
    """

    def __init__(
        self,
        broker: Broker,
        status: WorkerStatus,
        *,
        topic_prefix: str,
        heartbeat_seconds: float,
        clock: Clock,
    ) -> None:
        if not heartbeat_seconds > 0:
            raise ConfigError(f"heartbeat_seconds is {heartbeat_seconds}: it must be more than 0")
        topic = worker_topic(topic_prefix, status.worker_id)
        standing = PresenceState(status.session, heartbeat_seconds)
        self._announcement = _WorkerAnnouncement(topic, status, standing, clock)
        self._connection = Connection(broker, 1, self._announcement, _DRAIN_SECONDS)
        self._connection.subscribe(topic, self._announcement.hear)

    @override
    def set_idle(self, count: int) -> None:
        require_range("idle count", count, 0)
        self._announcement.idle_count = count
        self._connection.start()

    @override
    def close(self) -> None:
        self._connection.close()


@final
class _WorkerAnnouncement(Announcement):
    """Speaks for one worker; the network thread has it to itself but for the count and the end."""

    def __init__(
        self, topic: str, status: WorkerStatus, standing: PresenceState, clock: Clock
    ) -> None:
        self.idle_count = status.idle_count
        self._topic = topic
        self._status = status
        self._standing = standing
        self._clock = clock
        self._has_spoken = False
        self._is_ending = False
        self._is_cleared = False

    @property
    @override
    def will(self) -> Message:
        return self._goodbye()

    @property
    @override
    def has_last_words(self) -> bool:
        is_ours = self._has_spoken and self._standing.superseded_by is None
        return self._is_ending and is_ours and not self._is_cleared

    @override
    def came_up(self) -> None:
        self._standing = after_connecting(self._standing)

    @override
    def next_message(self) -> Message | None:
        if self.seconds_until_due() > 0:
            return None
        if self._is_ending:
            return self._goodbye()
        idle_count = self.idle_count
        self._standing = after_speaking(self._standing, idle_count, time.monotonic())
        self._has_spoken = True
        now = {"idle_count": idle_count, "timestamp": self._clock.now_ms()}
        status = self._status.model_copy(update=now)
        return Message(self._topic, encode_status(status), is_retained=True)

    @override
    def seconds_until_due(self) -> float:
        if self._is_ending:
            return 0.0 if self.has_last_words else float("inf")
        return seconds_until_due(self._standing, self.idle_count, time.monotonic())

    @override
    def end(self) -> None:
        self._is_ending = True

    def hear(self, delivery: IncomingMessage) -> None:
        """Take in what was told on this worker's topic, by itself or by others."""
        if delivery.is_retained:
            return
        before = self._standing
        self._standing = after_hearing(before, read_status(delivery), time.monotonic())
        if self._standing.superseded_by != before.superseded_by:
            _LOG.warning(
                "A worker that started later is called %r too (session %s): this one (session %s) "
                "is no longer announced; give each worker a WORKER_ID of its own",
                self._status.worker_id,
                self._standing.superseded_by,
                self._status.session,
            )

    def _goodbye(self) -> Message:
        return Message(
            self._topic,
            b"",
            self._was_cleared,
            is_retained=True,
            properties={SESSION: self._status.session},
        )

    def _was_cleared(self, _is_delivered: bool) -> None:  # noqa: FBT001  # as Message calls it
        self._is_cleared = True

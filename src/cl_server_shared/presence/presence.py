"""How services learn that a worker is there: by a retained message, until it is cleared."""

import logging
import time
from typing import Final, final, override

from cl_server_shared.errors import ConfigError
from cl_server_shared.models import WorkerStatus
from cl_server_shared.models.validation import require_range
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.mqtt.messages import Announcement, IncomingMessage, Message
from cl_server_shared.presence.payload import SESSION, encode_status, read_presence, worker_topic
from cl_server_shared.presence.presence_state import (
    PresenceState,
    after_announcing,
    after_connecting,
    after_message,
    seconds_until_due,
)
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.presence import Presence

_LOG: Final = logging.getLogger(__name__)

# Enough to hand over the message that clears the topic: the broker reads it before the end of the
# connection, and where it did not get it, the will does the same.
_DRAIN_SECONDS: Final = 0.2


@final
class MqttPresence(Presence):
    """Announces a worker on `{topic_prefix}/{worker_id}`, over a connection of its own.

    The message is retained, with QoS 1, and repeated every *heartbeat_seconds*, at each change, and
    whenever the broker is back. `close` and a clean exit of the interpreter clear it; if the
    process dies the broker does, by the connection's last will (MQTT 5.0, section 3.1.2.5).

    Of two workers with one id the one that started last is announced; the other logs a warning and
    falls silent. A forked child has no presence. Where the system refuses the thread that announces
    it, the next `set_idle` tries again.

    Args:
        broker: where to announce it.
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
        state = PresenceState(status.session, heartbeat_seconds)
        self._announcement: Final = _WorkerAnnouncement(topic, status, state, clock)
        self._connection: Final = Connection(broker, 1, self._announcement, _DRAIN_SECONDS)
        self._connection.subscribe(topic, self._announcement.receive)

    @override
    def set_idle(self, count: int) -> None:
        require_range("idle count", count, 0)
        self._announcement.idle_count = count
        self._connection.wake()

    @override
    def close(self) -> None:
        self._connection.close()


@final
class _WorkerAnnouncement(Announcement):
    """The announcement of one worker; only the count and the end come from other threads."""

    def __init__(
        self, topic: str, status: WorkerStatus, state: PresenceState, clock: Clock
    ) -> None:
        self.idle_count = status.idle_count
        self._topic: Final = topic
        self._status: Final = status
        self._clock: Final = clock
        self._state = state
        self._was_announced = False
        self._is_ending = False
        self._is_cleared = False

    @property
    @override
    def will(self) -> Message:
        return self._clear_message()

    @property
    @override
    def has_final_message(self) -> bool:
        is_ours = self._was_announced and self._state.superseded_by is None
        return self._is_ending and is_ours and not self._is_cleared

    @override
    def connected(self) -> None:
        self._state = after_connecting(self._state)

    @override
    def next_message(self) -> Message | None:
        if self.seconds_until_due() > 0:
            return None
        if self._is_ending:
            return self._clear_message()
        idle_count = self.idle_count
        self._state = after_announcing(self._state, idle_count, time.monotonic())
        self._was_announced = True
        now = {"idle_count": idle_count, "timestamp": self._clock.now_ms()}
        status = self._status.model_copy(update=now)
        return Message(self._topic, encode_status(status), is_retained=True)

    @override
    def seconds_until_due(self) -> float:
        if self._is_ending:
            return 0.0 if self.has_final_message else float("inf")
        return seconds_until_due(self._state, self.idle_count, time.monotonic())

    @override
    def end(self) -> None:
        self._is_ending = True

    def receive(self, message: IncomingMessage) -> None:
        """Take in a message on this worker's topic, its own or another's."""
        if message.is_retained:
            return
        before = self._state
        self._state = after_message(before, read_presence(message), time.monotonic())
        if self._state.superseded_by != before.superseded_by:
            _LOG.warning(
                "A worker that started later is called %r too (session %s): this one (session %s) "
                "is no longer announced; give each worker a WORKER_ID of its own",
                self._status.worker_id,
                self._state.superseded_by,
                self._status.session,
            )

    def _clear_message(self) -> Message:
        return Message(
            self._topic,
            b"",
            self._was_cleared,
            is_retained=True,
            properties={SESSION: self._status.session},
        )

    def _was_cleared(self, _is_delivered: bool) -> None:  # noqa: FBT001  # as Message calls it
        self._is_cleared = True

"""Events through an MQTT broker."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, final, override

from cl_server_shared.errors import ClServerError
from cl_server_shared.events.payload import decode_event, encode_event
from cl_server_shared.models import JobEvent
from cl_server_shared.models.validation import require_range
from cl_server_shared.mqtt.broker import Broker, Security
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.mqtt.messages import IncomingMessage
from cl_server_shared.mqtt.topics import topic_filter, topic_name
from cl_server_shared.protocols.events import ConfirmingBroadcaster, Subscription

_LOG: Final = logging.getLogger(__name__)


@final
class MqttBroadcaster(ConfirmingBroadcaster):
    """Publishes events with QoS 1, not retained, over one MQTT 5 connection of its own.

    Constructing it opens nothing; the first `publish` or `subscribe` starts a thread that connects
    and reconnects. No call waits for the broker, except `close`. While the broker is away events
    wait in memory; beyond *max_queued_events* the oldest is dropped, counted and logged. Callbacks
    run in that thread: one that takes long holds up the events behind it.

    A forked process gets a connection of its own at its first use; subscriptions stay with the
    process that made them. Events published after `close` are logged and dropped.

    Args:
        host: name or address of the broker.
        port: its TCP port, 1-65535.
        topic: where events are published, and listened to unless `subscribe` says otherwise.
        max_queued_events: how many events may wait for the broker.
        keepalive_seconds: how long the broker may be silent before it is asked for a sign of life,
            and how long it then has to answer, 1-65535.
        security: login and TLS, none unless given.

    Raises:
        ConfigError: an argument is outside what is allowed.
    """

    def __init__(  # noqa: PLR0913  # most have defaults, and a name at the call
        self,
        host: str,
        port: int,
        topic: str,
        *,
        max_queued_events: int = 10_000,
        keepalive_seconds: int = 15,
        security: Security | None = None,
    ) -> None:
        require_range("max_queued_events", max_queued_events, 1)
        self._topic = topic_name(topic)
        self._broker = Broker(host, port, keepalive_seconds, security or Security())
        self._max_queued_events = max_queued_events
        self._is_closed = False
        self._connections: dict[int, Connection] = {}

    @property
    def dropped_events(self) -> int:
        """How many events of this process were lost: the queue was full, or `close` had to end."""
        return self._connection().dropped

    @override
    def publish(self, event: JobEvent) -> None:
        self._hand_over(event, None)

    @override
    def publish_confirmed(self, event: JobEvent, on_settled: Callable[[bool], object]) -> None:
        self._hand_over(event, on_settled)

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        """Call *callback* with each event from now on; see `Broadcaster.subscribe`.

        What this broadcaster publishes from now on is heard for sure; what others publish, once the
        broker has been reached.

        Raises:
            ConfigError: *topic* is no MQTT topic filter.
            ClServerError: the broadcaster is closed.
        """
        listened = self._topic if topic is None else topic_filter(topic)
        if self._is_closed:
            raise ClServerError(f"cannot subscribe to {listened!r}: this broadcaster is closed")
        return self._connection().subscribe(listened, _EventReader(listened, callback))

    @override
    def close(self) -> None:
        self._is_closed = True
        self._connection().close()

    def _hand_over(self, event: JobEvent, on_settled: Callable[[bool], object] | None) -> None:
        payload = partial(encode_event, event)
        if self._is_closed or not self._connection().publish(self._topic, payload, on_settled):
            _LOG.warning("Published after close, dropped: %r", event)

    def _connection(self) -> Connection:
        """Return this process's connection; no lock, which a fork could find locked."""
        pid = os.getpid()
        connection = self._connections.get(pid)
        if connection is None:
            connection = Connection(self._broker, self._max_queued_events)
            connection = self._connections.setdefault(pid, connection)
        return connection


@final
@dataclass(slots=True)
class _EventReader:
    """Reads payloads for one callback; the first that is no event is worth a warning."""

    topic_filter: str
    callback: Callable[[JobEvent], object]
    has_warned: bool = False

    def __call__(self, delivery: IncomingMessage) -> None:
        event = decode_event(delivery.payload)
        if isinstance(event, JobEvent):
            self.callback(event)
            return
        level = logging.DEBUG if self.has_warned else logging.WARNING
        self.has_warned = True
        _LOG.log(level, "Passed over on %r, no event: %s", self.topic_filter, event.reason)

"""Events through an MQTT broker."""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Final, final, override

from cl_server_shared.errors import ClServerError
from cl_server_shared.events.payload import NotAnEvent, decode_event, encode_event
from cl_server_shared.models import JobEvent
from cl_server_shared.models.validation import require_range
from cl_server_shared.mqtt.broker import Broker, Security
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.mqtt.messages import IncomingMessage
from cl_server_shared.mqtt.topics import topic_filter, topic_name
from cl_server_shared.process.log_limits import Doubling, FirstOnly
from cl_server_shared.protocols.events import ConfirmingBroadcaster, Subscription

_LOG: Final = logging.getLogger(__name__)


@final
class MqttBroadcaster(ConfirmingBroadcaster):
    """Publishes events with QoS 1, not retained, over one MQTT 5 connection of its own.

    Constructing it opens nothing; the first `publish` or `subscribe` starts a thread that connects
    and reconnects. No call waits for the broker, except `close`. While the broker is away, or the
    system refuses a thread, events wait in memory; beyond *max_queued_events* the oldest is
    dropped, counted and logged. Callbacks run in that thread: one that takes long delays the events
    behind it.

    A forked process gets a connection of its own at its first use; subscriptions stay with the
    process that made them. Events published after `close` are dropped, counted and logged.

    Args:
        host: name or address of the broker.
        port: its TCP port, 1-65535.
        topic: where events are published, and subscribed to unless `subscribe` names another.
        max_queued_events: how many events may wait for the broker.
        keepalive_seconds: how long the broker may be silent before it is pinged, and how long it
            then has to answer, 1-65535.
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
        self._topic: Final = topic_name(topic)
        self._broker: Final = Broker(host, port, keepalive_seconds, security or Security())
        self._max_queued_events: Final = max_queued_events
        self._refused: Final = Doubling(_LOG)
        self._is_closed = False
        self._connections: Final[dict[int, Connection]] = {}

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

        What this broadcaster publishes from now on is received for sure; what others publish, once
        the broker has been reached.

        Raises:
            ConfigError: *topic* is no MQTT topic filter.
            ClServerError: the broadcaster is closed.
        """
        chosen = self._topic if topic is None else topic_filter(topic)
        if self._is_closed:
            raise ClServerError(f"cannot subscribe to {chosen!r}: this broadcaster is closed")
        return self._connection().subscribe(chosen, _EventReader(chosen, callback))

    @override
    def close(self) -> None:
        self._is_closed = True
        self._connection().close()

    def _hand_over(self, event: JobEvent, on_settled: Callable[[bool], object] | None) -> None:
        payload = partial(encode_event, event)
        if self._is_closed or not self._connection().publish(self._topic, payload, on_settled):
            self._refused.add("Published after close, dropped: %r; %s so far", event)

    def _connection(self) -> Connection:
        """Return this process's connection; no lock, which a fork could find locked."""
        pid = os.getpid()
        connection = self._connections.get(pid)
        if connection is None:
            connection = Connection(self._broker, self._max_queued_events)
            connection = self._connections.setdefault(pid, connection)
        return connection


@final
class _EventReader:
    """Reads payloads for one callback."""

    def __init__(self, topic_filter: str, callback: Callable[[JobEvent], object]) -> None:
        self._topic_filter: Final = topic_filter
        self._callback: Final = callback
        self._ignored: Final = FirstOnly(_LOG)

    @override
    def __repr__(self) -> str:
        return repr(self._callback)

    def __call__(self, message: IncomingMessage) -> None:
        event = decode_event(message.payload)
        if isinstance(event, NotAnEvent):
            self._ignored.warn("Ignored on %r, no event: %s", self._topic_filter, event.reason)
        else:
            self._callback(event)

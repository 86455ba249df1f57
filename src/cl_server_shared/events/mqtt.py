"""Events through an MQTT broker."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final, override

from cl_server_shared.errors import ClServerError, ConfigError
from cl_server_shared.events.mqtt_connection import Connection
from cl_server_shared.events.mqtt_loop import Broker
from cl_server_shared.events.payload import decode_event, encode_event
from cl_server_shared.events.topics import topic_filter, topic_name
from cl_server_shared.models import JobEvent
from cl_server_shared.protocols import Broadcaster, Subscription

_LOG: Final = logging.getLogger(__name__)

_MAX_PORT = 65_535


@final
class MqttBroadcaster(Broadcaster):
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

    Raises:
        ConfigError: an argument is outside what is allowed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        topic: str,
        *,
        max_queued_events: int = 10_000,
        keepalive_seconds: int = 15,
    ) -> None:
        if not host:
            raise ConfigError("the MQTT broker's host is empty: give its name or address")
        _require(1, "MQTT port", port, _MAX_PORT)
        _require(1, "keepalive_seconds", keepalive_seconds, _MAX_PORT)
        _require(1, "max_queued_events", max_queued_events, None)
        self._topic = topic_name(topic)
        self._broker = Broker(host, port, keepalive_seconds)
        self._max_queued_events = max_queued_events
        self._is_closed = False
        self._connections: dict[int, Connection] = {}

    @property
    def dropped_events(self) -> int:
        """How many events of this process were lost: the queue was full, or `close` had to end."""
        return self._connection().dropped

    @override
    def publish(self, event: JobEvent) -> None:
        payload = encode_event(event)
        if self._is_closed or not self._connection().publish(self._topic, payload):
            _LOG.warning("Published after close, dropped: %r", event)

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

    def __call__(self, payload: bytes) -> None:
        event = decode_event(payload)
        if isinstance(event, JobEvent):
            self.callback(event)
            return
        level = logging.DEBUG if self.has_warned else logging.WARNING
        self.has_warned = True
        _LOG.log(level, "Passed over on %r, no event: %s", self.topic_filter, event.reason)


def _require(lowest: int, name: str, value: int, highest: int | None) -> None:
    if value < lowest or (highest is not None and value > highest):
        allowed = f"{lowest} or more" if highest is None else f"{lowest}-{highest}"
        raise ConfigError(f"{name} is {value}: allowed is {allowed}")

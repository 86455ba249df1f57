"""Events inside one process; also the test double."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, final, override

from cl_server_shared.errors import ClServerError
from cl_server_shared.models import JobEvent
from cl_server_shared.mqtt.subscriptions import Subscriptions
from cl_server_shared.mqtt.topics import is_match, topic_filter, topic_name
from cl_server_shared.process.log_limits import Doubling
from cl_server_shared.protocols.events import Broadcaster, Subscription

_LOG: Final = logging.getLogger(__name__)


@final
class MemoryBroadcaster(Broadcaster):
    """Calls its subscribers in the publisher's thread, and remembers what was published.

    Subscribers get events one at a time and in one order: an event that is published while another
    is being delivered, by a callback or by another thread, comes after it, in the thread that is
    delivering. Events published after `close` are dropped, counted and logged.

    Args:
        topic: the topic of the events; subscriptions to other filters get what matches it.
        max_kept_events: how many of the newest events `published` holds.

    Raises:
        ConfigError: *topic* is no MQTT topic name.
    """

    def __init__(self, topic: str = "inference/events", *, max_kept_events: int = 10_000) -> None:
        self._topic: Final = topic_name(topic)
        self._published: Final[deque[JobEvent]] = deque(maxlen=max_kept_events)
        self._undelivered: Final[deque[JobEvent]] = deque()
        self._delivering: Final = threading.Lock()
        self._subscriptions: Final = Subscriptions[JobEvent](on_change=lambda: None)
        self._refused: Final = Doubling(_LOG)
        self._is_closed = False

    @property
    def published(self) -> tuple[JobEvent, ...]:
        """The newest published events, oldest first."""
        return tuple(self._published)

    @override
    def publish(self, event: JobEvent) -> None:
        if self._is_closed:
            self._refused.add("Published after close, dropped: %r; %s so far", event)
            return
        self._published.append(event)
        self._undelivered.append(event)
        # Whoever holds the lock delivers for all; the loop sees what came as it let go.
        while self._undelivered and self._delivering.acquire(blocking=False):
            try:
                self._deliver()
            finally:
                self._delivering.release()

    @override
    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        """Call *callback* with each event from now on; see `Broadcaster.subscribe`.

        Raises:
            ConfigError: *topic* is no MQTT topic filter.
            ClServerError: the broadcaster is closed.
        """
        chosen = self._topic if topic is None else topic_filter(topic)
        if self._is_closed:
            raise ClServerError(f"cannot subscribe to {chosen!r}: this broadcaster is closed")
        return self._subscriptions.add(chosen, callback)

    @override
    def close(self) -> None:
        self._is_closed = True

    def _deliver(self) -> None:
        while self._undelivered:
            event = self._undelivered.popleft()
            if not self._subscriptions.running:
                continue
            filters = self._subscriptions.filters()
            matching = {each for each in filters if is_match(each, self._topic)}
            self._subscriptions.deliver(event, matching)

"""What a connection sends and what it gets: messages, and what it says of itself."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, final

_LOG: Final = logging.getLogger(__name__)


@final
@dataclass(slots=True, eq=False)  # frozen would cost a publisher as much as all the rest
class Message:
    """A payload to publish with QoS 1, or what makes it when its turn has come.

    *on_settled* is told whether the broker acknowledged it; False also when it gave way to others.
    With *is_retained* the broker keeps it for later subscribers; *properties* are user properties
    (MQTT 5.0, section 3.3.2.3.7).
    """

    topic: str
    payload: bytes | Callable[[], bytes]
    on_settled: Callable[[bool], object] | None = None
    is_retained: bool = False
    properties: Mapping[str, str] | None = None

    def rendered(self) -> bytes:
        """Return the payload."""
        return self.payload if isinstance(self.payload, bytes) else self.payload()

    def tell(self, *, is_delivered: bool) -> None:
        """Tell the publisher what became of this message; what that raises is logged."""
        if self.on_settled is None:
            return
        try:
            self.on_settled(is_delivered)
        except Exception:  # noqa: BLE001  # anybody's function: what it raises is logged
            _LOG.exception("What follows the end of a message on %r failed", self.topic)


@final
@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message as the broker sent it; what its payload means is the reader's affair.

    *is_retained*: the broker had kept it, and sent it because of a new subscription (MQTT 5.0,
    section 3.3.1.3). *properties* are the user properties; of two of one name the last counts.
    """

    topic: str
    payload: bytes
    is_retained: bool = False
    properties: Mapping[str, str] = field(default_factory=dict[str, str])


class Announcement(Protocol):
    """Speaks for one connection, for as long as that lasts.

    All but `end` is called in the network thread.
    """

    @property
    def will(self) -> Message:
        """What the broker shall publish if the connection ends without a goodbye."""
        ...

    @property
    def has_last_words(self) -> bool:
        """Whether it has ended, and there still is something to say."""
        ...

    def came_up(self) -> None:
        """The broker has accepted the connection; it may have forgotten all that it was told."""
        ...

    def next_message(self) -> Message | None:
        """Return what is to be said now; None: nothing.

        Asked only while all that was said before is acknowledged, so that the last word is last.
        """
        ...

    def seconds_until_due(self) -> float:
        """Return for how long there is nothing to say, if nothing happens; 0 or less: speak now."""
        ...

    def end(self) -> None:
        """Say goodbye, and then nothing more; called from any thread."""
        ...

"""The messages of a connection: those that it sends, and those that it receives."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, final

_LOG: Final = logging.getLogger(__name__)


@final
@dataclass(slots=True, eq=False)  # frozen would cost a publisher as much as all the rest
class Message:
    """A payload to publish with QoS 1, or what makes it when it is sent.

    *on_settled* is called with whether the broker acknowledged it; False also when it was dropped
    for newer ones. With *is_retained* the broker keeps it for later subscribers; *properties* are
    user properties (MQTT 5.0, section 3.3.2.3.7).
    """

    topic: str
    payload: bytes | Callable[[], bytes]
    on_settled: Callable[[bool], object] | None = None
    is_retained: bool = False
    properties: Mapping[str, str] | None = None

    def rendered(self) -> bytes:
        """Return the payload."""
        return self.payload if isinstance(self.payload, bytes) else self.payload()

    def report(self, *, is_delivered: bool) -> None:
        """Call *on_settled*; what it raises is logged."""
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
    """What a connection publishes of itself, from its first moment to its last.

    All but `end` is called in the network thread.
    """

    @property
    def will(self) -> Message:
        """What the broker shall publish if the connection ends without `end`."""
        ...

    @property
    def has_final_message(self) -> bool:
        """Whether it has ended, and its final message is not yet settled."""
        ...

    def connected(self) -> None:
        """The broker has accepted the connection; it may have forgotten all earlier messages."""
        ...

    def next_message(self) -> Message | None:
        """Return the message that is due now; None: none is.

        Asked only while all earlier ones are acknowledged, so that the final one arrives last.
        """
        ...

    def seconds_until_due(self) -> float:
        """Return for how long no message is due, if nothing happens; 0 or less: one is due now."""
        ...

    def end(self) -> None:
        """Have a final message sent, and then none; called from any thread."""
        ...

"""What a connection says of itself."""

from typing import Protocol

from cl_server_shared.events.backlog import Message


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

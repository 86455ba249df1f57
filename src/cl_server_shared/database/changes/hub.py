"""Who waits for changes of a database, and who tells other processes of them."""

from collections.abc import Callable, Sequence
from typing import Final, final

from cl_server_shared.database.changes.notifier import NOTIFY, Notifier
from cl_server_shared.database.changes.sources import ChangeSource
from cl_server_shared.database.changes.watcher import ChangeSubscription, ChangeWatcher
from cl_server_shared.database.statement import Row, Statement, Values


@final
class ChangeHub:
    """The changes of one database, as one process sees and tells them.

    Args:
        read: runs a statement that changes nothing.
        make_source: makes what tells of changes, for one thread.
        must_notify: whether other processes see a change only when they are notified (PostgreSQL).
    """

    def __init__(
        self,
        read: Callable[[Statement, Values], Sequence[Row]],
        make_source: Callable[[], ChangeSource],
        *,
        must_notify: bool,
    ) -> None:
        self._watcher: Final = ChangeWatcher(read, make_source)
        self._notifier: Final = Notifier(lambda: read(NOTIFY, {})) if must_notify else None

    def add(self, subscription: ChangeSubscription) -> bool:
        """Wake *subscription* when what it waits for may have changed; harmless when repeated.

        Returns:
            Whether a thread watches; False: none could start, so its owner must poll by itself.
        """
        return self._watcher.add(subscription)

    def discard(self, subscription: ChangeSubscription) -> None:
        """Let *subscription* be; harmless when repeated."""
        self._watcher.discard(subscription)

    def note_change(self) -> None:
        """Let other processes know soon that a change was committed; returns at once."""
        if self._notifier is not None:
            self._notifier.note_change()

    def close(self, within_seconds: float = 0.0) -> None:
        """End all waits, and let nobody miss the last changes; a later wait begins anew.

        Args:
            within_seconds: how long (0 or more) to wait until the watch has closed its connection.
        """
        self._watcher.close(within_seconds)
        if self._notifier is not None:
            self._notifier.close()

    def after_fork(self) -> None:
        """Begin without waits and changes: those of a parent are the parent's."""
        self._watcher.after_fork()
        if self._notifier is not None:
            self._notifier.after_fork()

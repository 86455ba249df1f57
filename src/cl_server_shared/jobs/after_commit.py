"""What to do once a caller's own transaction is committed, and only then."""

from collections.abc import Callable
from typing import final

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction


def after_commit(session: Session, then: Callable[[], object]) -> None:
    """Call *then* once, after the transaction that *session* is in has been committed.

    A rollback, also one to a savepoint that encloses this call, forgets it.
    """
    _Pending(session, then)


@final
class _Pending:
    def __init__(self, session: Session, then: Callable[[], object]) -> None:
        self._then = then
        self._inside = _enclosing(session)
        self._listeners: tuple[tuple[str, Callable[..., None]], ...] = (
            ("after_commit", self._committed),
            ("after_soft_rollback", self._rolled_back),
        )
        for name, listener in self._listeners:
            event.listen(session, name, listener)

    def _committed(self, session: Session) -> None:
        if session.in_nested_transaction():  # a savepoint ended; the transaction goes on
            return
        self._forget(session)
        self._then()

    def _rolled_back(self, session: Session, previous: SessionTransaction) -> None:
        if previous in self._inside:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        for name, listener in self._listeners:
            event.remove(session, name, listener)


def _enclosing(session: Session) -> list[SessionTransaction]:
    """Return the transaction that a session is in, and those around it."""
    enclosing: list[SessionTransaction] = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        enclosing.append(transaction)
        transaction = transaction.parent
    return enclosing

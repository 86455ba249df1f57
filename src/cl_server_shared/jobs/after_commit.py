"""What to do once a caller's own transaction is committed, and only then."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_KEY: Final = "cl_server_shared.after_commit"


@dataclass(frozen=True, slots=True)
class _Pending:
    then: Callable[[], object]
    inside: tuple[SessionTransaction, ...]


def after_commit(session: Session, then: Callable[[], object]) -> None:
    """Call *then* once, after the transaction that *session* is in has been committed.

    A rollback, also one to a savepoint that encloses this call, forgets it.
    """
    if _KEY not in session.info:
        session.info[_KEY] = []
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_soft_rollback", _rolled_back)
    _pending(session).append(_Pending(then, _enclosing(session)))


def _committed(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint ended; the transaction goes on
        return
    pending = _pending(session)
    while pending:
        pending.pop(0).then()


def _rolled_back(session: Session, previous: SessionTransaction) -> None:
    pending = _pending(session)
    pending[:] = [waiting for waiting in pending if previous not in waiting.inside]


def _pending(session: Session) -> list[_Pending]:
    return cast("list[_Pending]", session.info[_KEY])  # session.info holds anything


def _enclosing(session: Session) -> tuple[SessionTransaction, ...]:
    """Return the transaction that a session is in, and those around it."""
    enclosing: list[SessionTransaction] = []
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        enclosing.append(transaction)
        transaction = transaction.parent
    return tuple(enclosing)

"""When a worker announces itself: decided without clock and network.

Times are seconds of one clock that never goes back.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, final

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import PresenceMessage

_REPEAT_SECONDS: Final = 1.0  # two that contradict each other shall not fill the network


@final
@dataclass(frozen=True, slots=True)
class PresenceState:
    """What a worker knows of its topic.

    *announced_idle* is the count that it announced last, *due_at* when it does so again though
    nothing changed. *superseded_by* is the session of a newer worker of the same id: the topic
    belongs to that one from then on.
    """

    session: str
    heartbeat_seconds: float
    announced_idle: int | None = None
    due_at: float = -math.inf
    may_repeat_at: float = -math.inf
    superseded_by: str | None = None


def seconds_until_due(state: PresenceState, idle_count: int, now: float) -> float:
    """Return for how long there is nothing to announce; 0 or less: announce now."""
    if state.superseded_by is not None:
        return math.inf
    return 0.0 if idle_count != state.announced_idle else state.due_at - now


def after_connecting(state: PresenceState) -> PresenceState:
    """Announce at once: the broker may have forgotten the last announcement."""
    return replace(state, due_at=-math.inf)


def after_announcing(state: PresenceState, idle_count: int, now: float) -> PresenceState:
    """Announce again a heartbeat later."""
    return replace(state, announced_idle=idle_count, due_at=now + state.heartbeat_seconds)


def after_message(state: PresenceState, message: PresenceMessage, now: float) -> PresenceState:
    """React to a live message on the own topic; a retained one is replaced anyway.

    A newer session takes over. Whatever else is not our own (an old worker's late will, an older
    session, no worker at all) is contradicted, at once but not more than once a second.
    """
    session = message.session if isinstance(message, WorkerStatus) else None
    if state.superseded_by is not None or session == state.session:
        return state
    if session is not None and session > state.session:
        return replace(state, superseded_by=session)
    repeat_at = max(now, state.may_repeat_at)
    return replace(
        state, due_at=min(state.due_at, repeat_at), may_repeat_at=repeat_at + _REPEAT_SECONDS
    )

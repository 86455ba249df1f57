"""When a worker speaks on its own topic: decided without clock and network.

Times are seconds of one clock that never goes back.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, final

from cl_server_shared.models import WorkerStatus
from cl_server_shared.presence.payload import Heard

_REASSERT_SECONDS: Final = 1.0  # two that contradict each other shall not fill the network


@final
@dataclass(frozen=True, slots=True)
class PresenceState:
    """What a worker knows of its topic.

    *said_idle* is the last count that it told, *due_at* when it speaks though nothing changed.
    *superseded_by* is the session of a newer worker of the same id: it has the topic from then on.
    """

    session: str
    heartbeat_seconds: float
    said_idle: int | None = None
    due_at: float = -math.inf
    may_reassert_at: float = -math.inf
    superseded_by: str | None = None


def seconds_until_due(standing: PresenceState, idle_count: int, now: float) -> float:
    """Return for how long there is nothing to say; 0 or less: speak now."""
    if standing.superseded_by is not None:
        return math.inf
    return 0.0 if idle_count != standing.said_idle else standing.due_at - now


def after_connecting(standing: PresenceState) -> PresenceState:
    """The broker may have forgotten what it was told."""
    return replace(standing, due_at=-math.inf)


def after_speaking(standing: PresenceState, idle_count: int, now: float) -> PresenceState:
    """The next sign of life is due a heartbeat later."""
    return replace(standing, said_idle=idle_count, due_at=now + standing.heartbeat_seconds)


def after_hearing(standing: PresenceState, heard: Heard, now: float) -> PresenceState:
    """React to a live message on the own topic; what the broker had kept is told over anyway.

    A newer session takes over. Whatever else is not our own (an old worker's late will, an older
    session, nonsense) is contradicted, at once but not more than once a second.
    """
    session = heard.session if isinstance(heard, WorkerStatus) else None
    if standing.superseded_by is not None or session == standing.session:
        return standing
    if session is not None and session > standing.session:
        return replace(standing, superseded_by=session)
    reassert_at = max(now, standing.may_reassert_at)
    return replace(
        standing,
        due_at=min(standing.due_at, reassert_at),
        may_reassert_at=reassert_at + _REASSERT_SECONDS,
    )

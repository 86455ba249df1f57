"""After the commit: what this repository remembers, and what the world is told."""

import logging
from typing import Final, final

from cl_server_shared.jobs import lifecycle
from cl_server_shared.jobs.claims import Claims, Seen
from cl_server_shared.jobs.store import JobDatabase
from cl_server_shared.models import JobEvent

_LOG: Final = logging.getLogger(__name__)


@final
class Announcer:
    """Takes note of committed changes.

    Args:
        claims: the claims of this repository.
        jobs: where the changed jobs are.
    """

    def __init__(self, claims: Claims, jobs: JobDatabase) -> None:
        self._claims: Final = claims
        self._jobs: Final = jobs

    def added(self, event: JobEvent) -> None:
        """Take note of a new job; what was claimed under its id before was another one."""
        self._claims.end(event.job_id)
        self.tell(event)

    def claimed(self, seen: Seen) -> None:
        """Take note of a claim of ours."""
        self._claims.hold(seen)
        self.tell(_event(seen, seen.state.started_at or 0))

    def changed(self, seen: Seen, now_ms: int) -> None:
        """Take note of a change, by whomever it was asked for."""
        self._remember(seen)
        self.tell(_event(seen, now_ms))

    def tell(self, event: JobEvent) -> None:
        """Tell the world; what is committed stays so, whatever a broadcaster does."""
        try:
            self._jobs.delivery.announce(event)
        except Exception:  # noqa: BLE001  # anybody's broadcaster: what it raises is logged
            _LOG.exception("job %s: event %d was not announced", event.job_id, event.seq)

    def _remember(self, seen: Seen) -> None:
        held = self._claims.number(seen.job_id)
        if held is None:
            return
        if seen.state.claim_number != held:
            self._claims.lose(seen.job_id, held)
        elif lifecycle.is_final(seen.state):
            self._claims.end(seen.job_id)
        else:
            self._claims.hold(seen)


def _event(seen: Seen, now_ms: int) -> JobEvent:
    return JobEvent(
        job_id=seen.job_id,
        event_type=seen.state.status,
        timestamp=now_ms,
        progress=seen.state.progress,
        task_type=seen.task_type,
        seq=seen.state.event_seq,
        created_at=seen.created_at,
    )

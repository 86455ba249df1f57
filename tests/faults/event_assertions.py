"""What a subscriber heard, compared with the rows at the end: pure.

Events come at least once and in any order. Whoever reads them orders by (created_at, seq) and drops
what comes again, so nothing here depends on their order.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic import BaseModel

_STATES_AT_THE_START: Final = 2


class Kept(NamedTuple):
    """What a row at the end says of its events: there were *event_seq* of them."""

    job_id: str
    created_at: int
    event_seq: int


class Change(NamedTuple):
    """One event of one job."""

    job_id: str
    created_at: int
    seq: int


class _Payload(BaseModel):
    job_id: str
    created_at: int
    seq: int
    event_id: str


@dataclass(frozen=True, slots=True)
class ReceivedEvents:
    """Every event once; how many deliveries were repeats, and how many of those were no copies."""

    changes: frozenset[Change]
    repeats: int
    contradictions: int


def received_events(payloads: Iterable[bytes]) -> ReceivedEvents:
    """Sort out what a subscriber received."""
    payload_of: dict[str, bytes] = {}
    changes: set[Change] = set()
    repeats = contradictions = 0
    for payload in payloads:
        event = _Payload.model_validate_json(payload)
        change = Change(event.job_id, event.created_at, event.seq)
        if event.event_id in payload_of:
            repeats += 1
            contradictions += payload_of[event.event_id] != payload
        else:
            contradictions += change in changes  # one change under two ids
        payload_of.setdefault(event.event_id, payload)
        changes.add(change)
    return ReceivedEvents(frozenset(changes), repeats, contradictions)


@dataclass(frozen=True, slots=True)
class Losses:
    """How many events never came."""

    states: int
    progress: int


def losses(rows: Sequence[Kept], told: ReceivedEvents) -> Losses:
    """Count what is missing of jobs that were added, claimed, reported on and ended, in this order.

    The first two events and the last one of each are changes of state, those between are progress.
    """
    missing = [
        (row, seq)
        for row in rows
        for seq in range(1, row.event_seq + 1)
        if Change(row.job_id, row.created_at, seq) not in told.changes
    ]
    progress = sum(_STATES_AT_THE_START < seq < row.event_seq for row, seq in missing)
    return Losses(states=len(missing) - progress, progress=progress)


def jobs_out_of_order(rows: Sequence[Kept], given: Iterable[Change]) -> int:
    """Count the jobs of which *given*, what a reader got after the helper, is not 1, 2, 3 ..."""
    got: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for change in given:
        got[change.job_id, change.created_at].append(change.seq)
    return sum(got[row.job_id, row.created_at] != list(range(1, row.event_seq + 1)) for row in rows)


def last_states_lost(rows: Sequence[Kept], told: ReceivedEvents) -> int:
    """Count the jobs of whose present state nobody heard."""
    return sum(Change(*row) not in told.changes for row in rows)

"""The order of one job's events, whatever order they arrive in.

Several processes tell of one job, each over a connection of its own: a worker's claim may arrive
before the addition that it followed. Brokers and publishers repeat what was not acknowledged
(QoS 1, MQTT 5.0, section 4.3.2), and leave out what an outage made stale. Nothing here knows the
time: who waits, and how long, is decided in `in_order.py`.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import final

from cl_server_shared.models import JobEvent

type Position = tuple[int, int]
"""Where an event stands among those of its job: when that was added, and the event's `seq`."""


@final
@dataclass(frozen=True, slots=True)
class JobOrder:
    """What is known of one job: the last event that was given out, and those held behind a gap.

    `held` ascends; its first event does not follow `last`, else it would have been given out.
    """

    last: Position = (0, 0)
    held: tuple[JobEvent, ...] = ()


type Ordered = tuple[JobOrder, tuple[JobEvent, ...]]
"""What is known now, and the events to give out."""


def position(event: JobEvent) -> Position:
    """Return where *event* stands among those of its job."""
    return event.created_at, event.seq


def order(known: JobOrder, event: JobEvent) -> Ordered:
    """Take in *event*: give it out with all that waited for it, hold it, or drop it.

    Given out are events that follow the last one without a gap, from 1 for a job that is new or was
    added again. Dropped is what was given out or is held already, and what comes too late. An event
    of `seq` 0 tells no order and is given out at once.
    """
    if event.seq == 0:
        return known, (event,)
    here = position(event)
    index = bisect_left(known.held, here, key=position)
    is_held = index < len(known.held) and position(known.held[index]) == here
    if is_held or here <= known.last:
        return known, ()
    held = (*known.held[:index], event, *known.held[index:])
    return release(JobOrder(known.last, held), known.last)


def release(known: JobOrder, through: Position) -> Ordered:
    """Give out what is held up to the position *through*, gaps or not, and what follows it."""
    last, count = known.last, 0
    for event in known.held:
        here = position(event)
        if here > through and not _follows(last, here):
            break
        last, count = here, count + 1
    return JobOrder(last, known.held[count:]), known.held[:count]


def _follows(last: Position, here: Position) -> bool:
    created_at, seq = here
    return seq == 1 + (last[1] if created_at == last[0] else 0)

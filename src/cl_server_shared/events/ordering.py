"""The order of one job's events, whatever order they arrive in.

Several processes announce the changes of one job, each over a connection of its own: a worker's
claim may arrive before the addition that it followed. Brokers and publishers repeat what was not
acknowledged (QoS 1, MQTT 5.0, section 4.3.2), and leave out what an outage made stale. Nothing here
knows the time: it is passed in.
"""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, final

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
    of `seq` 0 has no order and is given out at once.
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


_UNKNOWN: Final = JobOrder()


@final
class Resequencer:
    """Gives out each job's events once and in order (the pattern of that name).

    Args:
        wait_ms: how long an event is held for those that come before it.
        max_jobs: how many jobs are remembered, those with the latest events, and how many events
            are held at most. What is held of a job when it is forgotten is given out at once, as is
            the event that was held longest when there are too many. What is repeated of a forgotten
            job is given out again.

    Times are milliseconds of one clock that never goes back.
    """

    def __init__(self, wait_ms: int, max_jobs: int) -> None:
        self._wait_ms: Final = wait_ms
        self._max_jobs: Final = max_jobs
        self._jobs: Final[OrderedDict[str, JobOrder]] = OrderedDict()
        # All that is held, first due first.
        self._due: Final[OrderedDict[JobEvent, int]] = OrderedDict()

    @property
    def due_ms(self) -> int | None:
        """When `release` will have something to give out; None: nothing is held."""
        return next(iter(self._due.values()), None)

    def take(self, event: JobEvent, now_ms: int) -> list[JobEvent]:
        """Take in an event and return those to give out."""
        if event.seq == 0:
            return [event]
        known = self._jobs.pop(event.job_id, _UNKNOWN)
        now_known, ready = order(known, event)
        self._jobs[event.job_id] = now_known
        if len(now_known.held) > len(known.held):
            self._due[event] = now_ms + self._wait_ms
        self._let_go(ready)
        return [*ready, *self._shrink()]

    def release(self, now_ms: int) -> list[JobEvent]:
        """Return those that have waited long enough, each behind what is held before it."""
        ready: list[JobEvent] = []
        while (due := self.due_ms) is not None and due <= now_ms:
            ready += self._release_first()
        return ready

    def _release_first(self) -> tuple[JobEvent, ...]:
        event = next(iter(self._due))
        known, ready = release(self._jobs[event.job_id], position(event))
        self._jobs[event.job_id] = known
        self._let_go(ready)
        return ready

    def _shrink(self) -> list[JobEvent]:
        ready: list[JobEvent] = []
        while len(self._jobs) > self._max_jobs:
            _, forgotten = self._jobs.popitem(last=False)
            self._let_go(forgotten.held)
            ready += forgotten.held
        while len(self._due) > self._max_jobs:
            ready += self._release_first()
        return ready

    def _let_go(self, ready: tuple[JobEvent, ...]) -> None:
        for event in ready:
            self._due.pop(event, None)  # None: it was never held

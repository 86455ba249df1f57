"""The order of many jobs' events, within bounds of time and memory."""

from collections import OrderedDict
from typing import Final, final

from cl_server_shared.events.ordering import JobOrder, order, position, release
from cl_server_shared.models import JobEvent

_UNKNOWN: Final = JobOrder()


@final
class Resequencer:
    """Gives out each job's events once and in order (the pattern of that name).

    Args:
        wait_ms: how long an event is held for those that come before it.
        max_jobs: how many jobs are remembered, those heard of last, and how many events are held at
            most. What is held of a job when it is forgotten is given out at once, as is the event
            that was held longest when there are too many. What is repeated of a forgotten job is
            given out again.

    Times are milliseconds of one clock that never goes back.
    """

    def __init__(self, wait_ms: int, max_jobs: int) -> None:
        self._wait_ms: Final = wait_ms
        self._max_jobs: Final = max_jobs
        self._jobs: OrderedDict[str, JobOrder] = OrderedDict()
        self._due: OrderedDict[JobEvent, int] = OrderedDict()  # all that is held, first due first

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

"""Small pieces of work that wait at the same moment share one way to a worker thread and back.

The way takes as long as a small file itself, and threads that work side by side wait for Python's
lock. Only event loops touch a convoy, each its own: it needs no lock, and a fork inherits none.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, final

from anyio import CancelScope, Event, current_effective_deadline, get_cancelled_exc_class
from anyio.lowlevel import RunVar, checkpoint

from cl_server_shared.files.worker_thread import Checkpoint, run_in_thread

_SHARED_BY: Final = 64
_LONG_SECONDS: Final = 0.005
_MAX_WAYS: Final = 16


async def share_way(place: Path, work: Callable[[Checkpoint], None]) -> None:
    """Run *work* as `run_in_thread` does, together with what else waits for that *place*.

    Places do not wait for each other: one may be a disk that hangs. A slow one gets more threads.
    """
    convoys = _convoys()
    convoy = convoys.get(place) or convoys.setdefault(place, _Convoy())
    try:
        await convoy.run(work)
    finally:
        if convoy.is_idle:
            convoys.pop(place, None)


@final
class _Errand:
    """One piece of work; whose it is waits for its turn: it is done, or a way is free."""

    def __init__(self, work: Callable[[Checkpoint], None]) -> None:
        self._work: Final = work
        self.outcome: Final = Future[None]()
        self.turn = Event()
        self.is_unwanted = False

    def do(self, checkpoint: Checkpoint) -> None:
        """Do the work in this thread, unless it was given up; what it raises is its outcome."""
        if not self.outcome.set_running_or_notify_cancel():
            return
        try:
            self._work(checkpoint)
        except BaseException as error:  # noqa: BLE001  raised where the work is awaited
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(None)

    def checkpoint(self) -> None:
        """Raise once the work is unwanted; for the thread that somebody else leads."""
        if self.is_unwanted:
            raise CancelledError

    async def wait(self) -> None:
        """Wait for the next turn."""
        await self.turn.wait()
        self.turn = Event()

    async def abandon(self) -> bool:
        """Wait until nobody works on it any more; tell whether it was stored all the same."""
        self.is_unwanted = True
        if self.outcome.cancel():
            return False
        with CancelScope(shield=True):
            while not self.outcome.done():
                # Another Task.cancel() must not cut the waiting short.
                with suppress(get_cancelled_exc_class()):
                    await self.wait()
        return self.outcome.exception() is None


@final
class _Convoy:
    """What waits for one place. Whoever finds a way free leads: he takes the others along."""

    def __init__(self) -> None:
        self._waiting: deque[_Errand] = deque()
        self._ways = 1
        self._ways_taken = 0

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._ways_taken)

    async def run(self, work: Callable[[Checkpoint], None]) -> None:
        await checkpoint()
        errand = _Errand(work)
        self._waiting.append(errand)
        try:
            while not errand.outcome.done():
                if self._ways_taken < self._ways:
                    await self._lead(errand)
                else:
                    await errand.wait()
        except get_cancelled_exc_class():
            with suppress(ValueError):
                self._waiting.remove(errand)
            self._wake()
            # A scope hears of a cancellation that came too late at the caller's next checkpoint.
            if not (await errand.abandon() and current_effective_deadline() == -math.inf):
                raise
        errand.outcome.result()

    async def _lead(self, own: _Errand) -> None:
        fair_share = math.ceil(len(self._waiting) / self._ways)
        taken = [self._waiting.popleft() for _ in range(min(fair_share, _SHARED_BY))]
        self._ways_taken += 1
        began = time.monotonic()
        try:
            await run_in_thread(partial(_do_each, taken, own))
        finally:
            self._ways_taken -= 1
            is_long = time.monotonic() - began > 2 * _LONG_SECONDS
            self._ways = min(self._ways + 1, _MAX_WAYS) if is_long else max(self._ways - 1, 1)
            self._waiting.extendleft(each for each in reversed(taken) if not each.outcome.done())
            for errand in taken:
                errand.turn.set()
            self._wake()

    def _wake(self) -> None:
        """Tell those in front that there are ways which nobody takes."""
        for errand, _ in zip(self._waiting, range(self._ways - self._ways_taken), strict=False):
            errand.turn.set()


def _do_each(taken: list[_Errand], own: _Errand, checkpoint: Checkpoint) -> None:
    until = time.monotonic() + _LONG_SECONDS
    for errand in taken:
        errand.do(checkpoint if errand is own else errand.checkpoint)
        if time.monotonic() > until:
            return


def _convoys() -> dict[Path, _Convoy]:
    try:
        return _CONVOYS.get()
    except LookupError:
        convoys = dict[Path, _Convoy]()
        _CONVOYS.set(convoys)
        return convoys


_CONVOYS: Final = RunVar[dict[Path, _Convoy]]("convoys")

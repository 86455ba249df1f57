"""Several callers on one database, one statement at a time, in an order of our choice."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, final, override

from cl_server_shared.errors import JobCancelled, JobLost
from tests.faults.drivers import Watcher

_STUCK_AFTER_SECONDS: Final = 60
_MOST_CALLERS: Final = 3

type Call = Callable[[], object]
type Choose = Callable[[Sequence[int]], int]
"""Gets the numbers of the callers that can go on, and returns the position of who does."""


@dataclass(slots=True)
class _Caller:
    number: int
    call: Call
    next_sql: str | None = None
    answer: object = None
    failure: BaseException | None = None
    is_writing: bool = False
    may_go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one order: each caller's answer, and which caller ran which statement when."""

    answers: tuple[object, ...]
    trace: tuple[tuple[int, str], ...]


@final
class Scheduler(Watcher):
    """Holds every caller before its next statement until it is its turn.

    A transaction of several statements keeps the others from writing, as the database itself would.
    """

    def __init__(self) -> None:
        self._callers: Final[dict[int, _Caller]] = {}
        self._halted: Final = threading.Semaphore(0)

    @override
    def before(self, sql: str) -> None:
        caller = self._callers.get(threading.get_ident())
        if caller is not None:
            self._halt(caller, sql)
            caller.may_go.acquire()

    @override
    def after(self, sql: str) -> None:
        caller = self._callers.get(threading.get_ident())
        if caller is not None and sql.startswith(("BEGIN", "COMMIT")):
            caller.is_writing = sql.startswith("BEGIN")

    def run(self, calls: Sequence[Call], choose: Choose) -> Run:
        """Let each act run in a thread of its own, in the order that is chosen.

        An act's answer is what it returns, or the type of the JobLost or JobCancelled it raises.
        """
        callers = [_Caller(number, call) for number, call in enumerate(calls)]
        trace: list[tuple[int, str]] = []
        for caller in callers:
            self._go_on(threading.Thread(target=self._run, args=[caller], daemon=True).start)
        while waiting := [caller for caller in callers if caller.next_sql is not None]:
            ready = _ready(waiting)
            numbers = [caller.number for caller in ready]
            caller = ready[choose(numbers) if len(ready) > 1 else 0]
            trace.append((caller.number, caller.next_sql or ""))
            self._go_on(caller.may_go.release)
        for caller in callers:
            if caller.failure is not None:
                raise caller.failure
        return Run(tuple(caller.answer for caller in callers), tuple(trace))

    def _go_on(self, start: Callable[[], object]) -> None:
        start()
        if not self._halted.acquire(timeout=_STUCK_AFTER_SECONDS):
            raise TimeoutError("a caller neither ended nor came to its next statement")

    def _halt(self, caller: _Caller, next_sql: str | None) -> None:
        caller.next_sql = next_sql
        self._halted.release()

    def _run(self, caller: _Caller) -> None:
        self._callers[threading.get_ident()] = caller
        try:
            caller.answer = caller.call()
        except (JobLost, JobCancelled) as error:
            caller.answer = type(error)
        except BaseException as error:  # noqa: BLE001  # `play` raises it
            caller.failure = error
        finally:
            del self._callers[threading.get_ident()]
            self._halt(caller, None)


def _ready(waiting: Sequence[_Caller]) -> Sequence[_Caller]:
    writing = [caller for caller in waiting if caller.is_writing]
    if not writing:
        return waiting
    return [caller for caller in waiting if caller in writing or _only_reads(caller.next_sql or "")]


def _only_reads(sql: str) -> bool:
    return sql.lstrip().startswith("SELECT")


def every_schedule() -> Iterator[Choose]:
    """Give each order once, provided that every one given is played to its end."""
    prefix: list[int] = []
    while True:
        choices: list[tuple[int, int]] = []

        def choose(
            ready: Sequence[int], first: list[int] = prefix, made: list[tuple[int, int]] = choices
        ) -> int:
            choice = first[len(made)] if len(made) < len(first) else 0
            made.append((choice, len(ready)))
            return choice

        yield choose
        while choices and choices[-1][0] == choices[-1][1] - 1:
            choices.pop()
        if not choices:
            return
        prefix = [choice for choice, _ in choices]
        prefix[-1] += 1


def random_schedules(number: int, seed: int) -> Iterator[Choose]:
    """Give so many orders, the same for the same seed; in each the callers differ in speed.

    Were all equally fast, whoever has the fewest statements would nearly always be the first.
    """
    chance = random.Random(seed)  # no secret
    for _ in range(number):
        speeds = [10 ** chance.uniform(-2, 2) for _ in range(_MOST_CALLERS)]

        def choose(ready: Sequence[int], speeds: Sequence[float] = speeds) -> int:
            weights = [speeds[number] for number in ready]
            return chance.choices(range(len(ready)), weights)[0]

        yield choose

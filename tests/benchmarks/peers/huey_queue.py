"""huey on SQLite: a decorated task, enqueued by calling it, executed as its consumer does.

It removes a job from the database when it hands it out: a killed worker loses it.
"""

from collections.abc import Callable
from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import OUTPUT, PARAMS, Phases, Queue, timed

type _Task = Callable[[JsonObject], JsonObject]


class _Connection(Protocol):
    def execute(self, statement: str) -> object: ...


class _Storage(Protocol):
    @property
    def conn(self) -> _Connection: ...
    def close(self) -> object: ...


class _Huey(Protocol):
    @property
    def storage(self) -> _Storage: ...
    def task(self) -> Callable[[_Task], Callable[[JsonObject], object]]: ...
    def dequeue(self) -> object | None: ...
    def execute(self, task: object) -> object: ...


class _Module(Protocol):
    def SqliteHuey(self, name: str, *, filename: str) -> _Huey: ...  # noqa: N802  # its name


def _resize(_params: JsonObject) -> JsonObject:
    return OUTPUT


@final
class Huey(Queue):
    """A task a job, results stored; WAL is its default, synchronous is set on its connection."""

    def __init__(self, url: str, synchronous: str = "NORMAL") -> None:
        module = cast("_Module", load("huey"))
        self._huey: Final = module.SqliteHuey("benchmark", filename=str(make_url(url).database))
        self._huey.storage.conn.execute(f"PRAGMA synchronous={synchronous}")
        self._resize: Final = self._huey.task()(_resize)
        self._claimed: Final[list[object]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._huey.storage.close()

    def _add(self, number: int) -> None:
        for _ in range(number):
            self._resize(PARAMS)

    def _claim(self, number: int) -> None:
        for _ in range(number):
            task = self._huey.dequeue()
            assert task is not None
            self._claimed.append(task)

    def _complete(self, number: int) -> None:
        for _ in range(number):
            self._huey.execute(self._claimed.pop())

"""persist-queue: an SQLiteAckQueue, put, get and ack, as in its README."""

from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import PARAMS, Phases, Queue, timed


class _Connection(Protocol):
    def execute(self, statement: str) -> object: ...


class _AckQueue(Protocol):
    @property
    def _putter(self) -> _Connection: ...
    def put(self, item: JsonObject) -> object: ...
    def get(self, *, block: bool, raw: bool) -> dict[str, object]: ...
    def ack(self, *, id: object) -> object: ...  # noqa: A002  # its name
    def close(self) -> None: ...


class _Module(Protocol):
    def SQLiteAckQueue(self, path: str, *, auto_commit: bool) -> _AckQueue: ...  # noqa: N802  # its name


@final
class PersistQueue(Queue):
    """An item a job; WAL is its default, synchronous is set on its connection."""

    def __init__(self, url: str, synchronous: str = "NORMAL") -> None:
        module = cast("_Module", load("persistqueue"))
        self._queue: Final = module.SQLiteAckQueue(f"{make_url(url).database}.d", auto_commit=True)
        putter = self._queue._putter  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way to it
        putter.execute(f"PRAGMA synchronous={synchronous}")
        self._claimed: Final[list[object]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._queue.close()

    def _add(self, number: int) -> None:
        for _ in range(number):
            self._queue.put(PARAMS)

    def _claim(self, number: int) -> None:
        for _ in range(number):
            self._claimed.append(self._queue.get(block=False, raw=True)["pqid"])

    def _complete(self, number: int) -> None:
        for _ in range(number):
            self._queue.ack(id=self._claimed.pop())

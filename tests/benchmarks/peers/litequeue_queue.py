"""litequeue: put, pop, done, as in its README; JSON texts are its messages."""

import json
from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import PARAMS, Phases, Queue, timed


class _Message(Protocol):
    @property
    def data(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def claim_id(self) -> int: ...


class _LiteQueue(Protocol):
    def put(self, data: str) -> object: ...
    def pop(self) -> _Message | None: ...
    def done(self, message_id: str, *, claim_id: int) -> bool: ...
    def close(self) -> None: ...


class _Module(Protocol):
    def LiteQueue(self, filename: str) -> _LiteQueue: ...  # noqa: N802  # its name


@final
class Litequeue(Queue):
    """A message a job; it sets WAL and synchronous=NORMAL by itself."""

    def __init__(self, url: str) -> None:
        module = cast("_Module", load("litequeue"))
        self._queue: Final = module.LiteQueue(str(make_url(url).database))
        self._claimed: Final[list[_Message]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._queue.close()

    def _add(self, number: int) -> None:
        for _ in range(number):
            self._queue.put(json.dumps(PARAMS))

    def _claim(self, number: int) -> None:
        for _ in range(number):
            message = self._queue.pop()
            assert message is not None
            assert json.loads(message.data)
            self._claimed.append(message)

    def _complete(self, number: int) -> None:
        for _ in range(number):
            message = self._claimed.pop()
            assert self._queue.done(message.message_id, claim_id=message.claim_id)

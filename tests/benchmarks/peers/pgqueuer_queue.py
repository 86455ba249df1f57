"""pgqueuer on asyncpg, the faster of its drivers: enqueued, then drained by its queue manager."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import batched
from json import dumps
from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import PARAMS, Phases, Queue

_PARAMS: Final = dumps(PARAMS).encode()


class _Connection(Protocol):
    async def close(self) -> None: ...


class _Queries(Protocol):
    async def install(self) -> None: ...
    async def schema_is_installed(self) -> bool: ...
    async def enqueue(
        self,
        entrypoint: str | list[str],
        payload: bytes | list[bytes],
        priority: int | list[int] = 0,
    ) -> object: ...


class _Manager(Protocol):
    def entrypoint(self, name: str) -> Callable[[Callable[[object], Awaitable[None]]], object]: ...
    async def run(self, *, batch_size: int, mode: object) -> None: ...


class _PgQueuer(Protocol):
    @property
    def qm(self) -> _Manager: ...


class _Builder(Protocol):
    def from_asyncpg_connection(self, connection: _Connection) -> _PgQueuer: ...


class _QueriesBuilder(Protocol):
    def from_asyncpg_connection(self, connection: _Connection) -> _Queries: ...


class _Modes(Protocol):
    @property
    def drain(self) -> object: ...


class _Applications(Protocol):
    @property
    def PgQueuer(self) -> _Builder: ...  # noqa: N802  # its name


class _QueriesModule(Protocol):
    @property
    def Queries(self) -> _QueriesBuilder: ...  # noqa: N802  # its name


class _Types(Protocol):
    @property
    def QueueExecutionMode(self) -> _Modes: ...  # noqa: N802  # its name


class _Asyncpg(Protocol):
    async def connect(self, dsn: str) -> _Connection: ...


async def _resize(job: object) -> None:
    assert job


@final
class Pgqueuer(Queue):
    """A connection for adding, and one for each drain, as its documentation shows."""

    def __init__(self, url: str, batch: int = 1) -> None:
        logging.getLogger("pgqueuer").setLevel(logging.WARNING)
        self._asyncpg: Final = cast("_Asyncpg", load("asyncpg"))
        self._applications: Final = cast("_Applications", load("pgqueuer.applications"))
        self._queries: Final = cast("_QueriesModule", load("pgqueuer.queries"))
        types = cast("_Types", load("pgqueuer.types"))
        self._drain: Final = types.QueueExecutionMode.drain
        plain = make_url(url).set(drivername="postgresql")
        self._dsn: Final = plain.render_as_string(hide_password=False)
        self._batch: Final = batch
        asyncio.run(self._install())

    @override
    def cycle(self, number: int) -> Phases:
        return asyncio.run(self._cycle(number))

    @override
    def close(self) -> None:
        """Every connection was closed with its event loop."""

    async def _install(self) -> None:
        connection = await self._asyncpg.connect(self._dsn)
        queries = self._queries.Queries.from_asyncpg_connection(connection)
        if not await queries.schema_is_installed():
            await queries.install()
        await connection.close()

    async def _cycle(self, number: int) -> Phases:
        clock = asyncio.get_running_loop().time
        adding = await self._asyncpg.connect(self._dsn)
        working = await self._asyncpg.connect(self._dsn)
        began = clock()
        await self._add(adding, number)
        added = clock()
        await self._work(working)
        ended = clock()
        await adding.close()
        return {"add": added - began, "work": ended - added}

    async def _add(self, connection: _Connection, number: int) -> None:
        queries = self._queries.Queries.from_asyncpg_connection(connection)
        if self._batch == 1:
            for _ in range(number):
                await queries.enqueue("resize", _PARAMS)
            return
        for some in batched(range(number), self._batch):
            jobs = len(some)
            await queries.enqueue(["resize"] * jobs, [_PARAMS] * jobs, [0] * jobs)

    async def _work(self, connection: _Connection) -> None:
        manager = self._applications.PgQueuer.from_asyncpg_connection(connection).qm
        manager.entrypoint("resize")(_resize)
        await manager.run(batch_size=self._batch, mode=self._drain)

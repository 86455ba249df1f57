"""oban: jobs enqueued by a client, then worked off by an embedded instance with one queue."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import batched
from typing import Final, Protocol, Self, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import PARAMS, Phases, Queue

_IS_LEFT: Final = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')"
_POLL_SECONDS: Final = 0.002


class _Found(Protocol):
    async def fetchone(self) -> tuple[object, ...] | None: ...


class _Connection(Protocol):
    async def execute(self, statement: str) -> _Found: ...


class _Pool(Protocol):
    def connection(self) -> AbstractAsyncContextManager[_Connection]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> object: ...


class _Pools(Protocol):
    def AsyncConnectionPool(  # noqa: N802  # its name
        self,
        conninfo: str,
        *,
        open: bool,  # noqa: A002  # its name
        kwargs: Mapping[str, object],
    ) -> _Pool: ...


class _Job(Protocol):
    """A decorated function."""

    def new(self, params: JsonObject) -> object: ...


class _Oban(Protocol):
    async def enqueue(self, job: object) -> object: ...
    async def enqueue_many(self, jobs: Sequence[object]) -> object: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> object: ...


class _Module(Protocol):
    def Oban(self, *, pool: _Pool, queues: Mapping[str, int], name: str) -> _Oban: ...  # noqa: N802  # its name
    def job(self, *, queue: str) -> Callable[[Callable[[JsonObject], Awaitable[None]]], _Job]: ...


class _Schema(Protocol):
    async def install(self, pool: _Pool) -> None: ...


async def resize(params: JsonObject) -> None:
    """Do nothing; oban finds it by its name."""
    assert params


@final
class Oban(Queue):
    """Client and worker have a pool of their own; the worker runs *batch* jobs at a time."""

    def __init__(self, url: str, batch: int = 1) -> None:
        logging.getLogger("oban").setLevel(logging.WARNING)
        self._oban: Final = cast("_Module", load("oban"))
        self._schema: Final = cast("_Schema", load("oban.schema"))
        self._pools: Final = cast("_Pools", load("psycopg_pool"))
        self._resize: Final = self._oban.job(queue="default")(resize)
        plain = make_url(url).set(drivername="postgresql")
        self._dsn: Final = plain.render_as_string(hide_password=False)
        self._batch: Final = batch
        asyncio.run(self._install())

    @override
    def cycle(self, number: int) -> Phases:
        return asyncio.run(self._cycle(number))

    @override
    def close(self) -> None:
        """Every pool was closed with its event loop."""

    def _pool(self) -> _Pool:
        return self._pools.AsyncConnectionPool(self._dsn, open=False, kwargs={"autocommit": True})

    async def _install(self) -> None:
        async with self._pool() as pool, pool.connection() as connection:
            found = await connection.execute("SELECT to_regclass('oban_jobs')")
            if await found.fetchone() == (None,):
                await self._schema.install(pool)

    async def _cycle(self, number: int) -> Phases:
        clock = asyncio.get_running_loop().time
        async with self._pool() as pool:
            async with self._oban.Oban(pool=pool, queues={}, name="client") as client:
                began = clock()
                await self._add(client, number)
                added = clock()
            async with self._oban.Oban(pool=pool, queues={"default": self._batch}, name="Oban"):
                working = clock()
                await _drained(pool)
                ended = clock()
        return {"add": added - began, "work": ended - working}

    async def _add(self, client: _Oban, number: int) -> None:
        if self._batch == 1:
            for _ in range(number):
                await client.enqueue(self._resize.new(PARAMS))
            return
        for some in batched(range(number), self._batch):
            await client.enqueue_many([self._resize.new(PARAMS) for _ in some])


async def _drained(pool: _Pool) -> None:
    while True:
        async with pool.connection() as connection:
            found = await connection.execute(_IS_LEFT)
            if await found.fetchone() == (False,):
                return
        await asyncio.sleep(_POLL_SECONDS)

"""procrastinate: a task deferred one by one or in a batch, done by a worker until none is left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import batched
from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.ours import BATCH
from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import PARAMS, Phases, Queue, timed


class _Task(Protocol):
    def defer(self, *, params: JsonObject) -> int: ...
    def batch_defer(self, *task_kwargs: Mapping[str, JsonObject]) -> Sequence[int]: ...


class _Schema(Protocol):
    def apply_schema(self) -> None: ...


class _App(Protocol):
    @property
    def schema_manager(self) -> _Schema: ...
    def open(self) -> object: ...
    def close(self) -> None: ...
    def open_async(self) -> "_Opening": ...
    def task(self, *, name: str) -> Callable[[Callable[[JsonObject], None]], _Task]: ...
    def run_worker_async(
        self, *, wait: bool, concurrency: int, listen_notify: bool, install_signal_handlers: bool
    ) -> Awaitable[None]: ...


class _Opening(Protocol):
    async def __aenter__(self) -> object: ...
    async def __aexit__(self, *exc: object) -> object: ...


class _Module(Protocol):
    def App(self, *, connector: object) -> _App: ...  # noqa: N802  # its name
    def SyncPsycopgConnector(self, *, conninfo: str) -> object: ...  # noqa: N802  # its name
    def PsycopgConnector(self, *, conninfo: str) -> object: ...  # noqa: N802  # its name


def _resize(params: JsonObject) -> None:
    assert params


@final
class Procrastinate(Queue):
    """Deferred through its synchronous connector; its worker runs one job after the other."""

    def __init__(self, url: str, *, in_batches: bool = False) -> None:
        logging.getLogger("procrastinate").setLevel(logging.WARNING)
        module = cast("_Module", load("procrastinate"))
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._app: Final = module.App(connector=module.SyncPsycopgConnector(conninfo=plain))
        self._app.open()
        _apply_schema_once(self._app)
        self._resize: Final = self._app.task(name="resize")(_resize)
        self._worker: Final = module.App(connector=module.PsycopgConnector(conninfo=plain))
        self._worker.task(name="resize")(_resize)
        self._in_batches: Final = in_batches

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, work=self._work)

    @override
    def close(self) -> None:
        self._app.close()

    def _add(self, number: int) -> None:
        if not self._in_batches:
            for _ in range(number):
                self._resize.defer(params=PARAMS)
            return
        for some in batched(range(number), BATCH):
            self._resize.batch_defer(*[{"params": PARAMS} for _ in some])

    def _work(self, _number: int) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with self._worker.open_async():
            await self._worker.run_worker_async(
                wait=False, concurrency=1, listen_notify=False, install_signal_handlers=False
            )


def _apply_schema_once(app: _App) -> None:
    try:
        app.schema_manager.apply_schema()
    except Exception as error:
        if "already exists" not in f"{error} {error.__cause__}":
            raise

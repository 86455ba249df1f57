"""DBOS: workflows enqueued, then awaited; its own thread hands them out meanwhile."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.models.json_object import JsonObject
from tests.benchmarks.peers.loading import load
from tests.benchmarks.queues import OUTPUT, PARAMS, Phases, Queue, timed

_POLLING_SECONDS: Final = 0.05

type _Workflow = Callable[[JsonObject], JsonObject]


class _Handle(Protocol):
    def get_result(self) -> object: ...


class _Dbos(Protocol):
    def __call__(self, *, config: Mapping[str, object]) -> object: ...
    def workflow(self) -> Callable[[_Workflow], _Workflow]: ...
    def launch(self) -> None: ...
    def destroy(self, *, destroy_registry: bool) -> None: ...
    def register_queue(self, name: str, *, polling_interval_sec: float) -> object: ...
    def enqueue_workflow(
        self, queue_name: str, workflow: _Workflow, params: JsonObject
    ) -> _Handle: ...


class _Module(Protocol):
    @property
    def DBOS(self) -> _Dbos: ...  # noqa: N802  # its name


def _resize(_params: JsonObject) -> JsonObject:
    return OUTPUT


@final
class Dbos(Queue):
    """One instance a process, as its documentation demands."""

    def __init__(self, url: str) -> None:
        self._dbos: Final = cast("_Module", load("dbos")).DBOS
        plain = make_url(url)
        if plain.get_backend_name() == "postgresql":
            plain = plain.set(drivername="postgresql")
        system = plain.render_as_string(hide_password=False)
        self._dbos(
            config={"name": "benchmark", "system_database_url": system, "log_level": "CRITICAL"}
        )
        self._resize: Final = self._dbos.workflow()(_resize)
        try:
            self._dbos.launch()
            self._dbos.register_queue("benchmark", polling_interval_sec=_POLLING_SECONDS)
        except BaseException:
            self.close()
            raise

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, work=self._work)

    @override
    def close(self) -> None:
        self._dbos.destroy(destroy_registry=True)

    def _work(self, number: int) -> None:
        handles = [
            self._dbos.enqueue_workflow("benchmark", self._resize, PARAMS) for _ in range(number)
        ]
        for handle in handles:
            handle.get_result()

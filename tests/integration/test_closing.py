"""After its last block a container is closed, and every part that it built says so."""

import logging
import os
import signal
import threading
from functools import partial
from inspect import iscoroutinefunction, isfunction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from dependency_injector import providers
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from cl_server_shared.config import Settings
from cl_server_shared.container import Container, running
from cl_server_shared.database import make_engine
from cl_server_shared.errors import ClServerError, ContainerClosedError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.stream import events
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.presence.memory import MemoryWorkerRegistry
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.protocols.files import JobStorage
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.presence import Presence, WorkerRegistry
from cl_server_shared.shared_db import JobRepositoryService
from tests.support.processes import child
from tests.support.repositories import ManualClock, at, job
from tests.support.servers import Address
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PORTS: dict[str, type] = {
    "async_job_repository": AsyncJobRepository,
    "broadcaster": Broadcaster,
    "engine": Engine,
    "job_repository": JobManagement,
    "job_storage": JobStorage,
    "media_storage": JobStorage,
    "outbox": OutboxRelay,
    "session_factory": sessionmaker,
    "worker_presence": Presence,
    "worker_registry": WorkerRegistry,
}
STILL_WORKING = {"after_fork", "close", "dispose"}


def made_for(folder: Path, broadcast_type: str = "memory", **changed: object) -> Container:
    values = {"CL_SERVER_DIR": str(folder), "BROADCAST_TYPE": broadcast_type, **changed}
    return Container(settings=providers.Object(Settings.model_validate(values)))


@pytest.fixture
def mqtt_settings(mqtt_broker: Address, topic: str) -> dict[str, object]:
    return {
        "MQTT_BROKER": mqtt_broker.host,
        "MQTT_PORT": mqtt_broker.port,
        "MQTT_TOPIC": f"{topic}/events",
        "CAPABILITY_TOPIC_PREFIX": f"{topic}/workers",
    }


def part_of(container: Container, name: str) -> object:
    return cast("providers.Provider[object]", getattr(container, name))()


def methods_of(port: type) -> list[str]:
    public = [name for name in dir(port) if not name.startswith("_")]
    methods = [name for name in public if isfunction(cast("object", getattr(port, name)))]
    return sorted({*methods} - STILL_WORKING)


def call_without_arguments(part: object, method: str) -> None:
    call = cast("Callable[[], object]", getattr(part, method))
    if iscoroutinefunction(call):
        anyio.run(cast("Callable[[], Awaitable[object]]", call))
    else:
        call()


@pytest.mark.parametrize("broadcast_type", ["memory", "mqtt", "none"])
@pytest.mark.parametrize("name", PORTS)
def test_every_method_of_a_part_refuses_after_the_end(
    tmp_path: Path, name: str, broadcast_type: str, mqtt_settings: dict[str, object]
) -> None:
    container = made_for(tmp_path, broadcast_type, **mqtt_settings)
    with running(container):
        part = part_of(container, name)
    methods = methods_of(PORTS[name])

    assert methods
    for method in methods:
        with pytest.raises(ContainerClosedError) as refused:
            call_without_arguments(part, method)
        assert str(refused.value) == (
            f"{name}.{method}: its container is closed. Enter `running(container)` again and take "
            f"{name} from it anew: keep the container, not its parts"
        )
        assert isinstance(refused.value, ClServerError)


def test_a_closed_session_factory_gives_no_session(tmp_path: Path) -> None:
    with running(made_for(tmp_path)) as container:
        sessions = container.session_factory()

    with pytest.raises(ContainerClosedError, match="session_factory: its container is closed"):
        sessions()
    with pytest.raises(ContainerClosedError, match=r"session_factory: "):
        JobRepositoryService(sessions).get_job("a")


def test_a_closed_broadcaster_gives_no_stream(tmp_path: Path) -> None:
    with running(made_for(tmp_path)) as container:
        broadcaster = container.broadcaster()

    with pytest.raises(ContainerClosedError, match=r"broadcaster\.subscribe: "):
        events(broadcaster)


@pytest.mark.parametrize("broadcast_type", ["memory", "mqtt", "none"])
def test_closed_parts_can_be_closed_again_and_are_what_they_were(
    tmp_path: Path, broadcast_type: str, mqtt_settings: dict[str, object]
) -> None:
    with running(made_for(tmp_path, broadcast_type, **mqtt_settings)) as container:
        presence, registry = container.worker_presence(), container.worker_registry()
        broadcaster, engine = container.broadcaster(), container.engine()
        before = [repr(type(part)) for part in (presence, registry, broadcaster, engine)]

    presence.close()
    registry.close()
    broadcaster.close()
    engine.dispose()
    assert [repr(type(part)) for part in (presence, registry, broadcaster, engine)] == before
    assert isinstance(engine, Engine)


def test_closing_the_stack_by_hand_closes_the_parts(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    storage = container.job_storage()
    container.closing().close()

    with pytest.raises(ContainerClosedError, match=r"job_storage\.list_files"):
        storage.list_files("a")


def test_a_part_taken_before_the_block_works_in_it(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    jobs, storage = container.job_repository(), container.job_storage()
    with running(container):
        assert jobs.add_job(job()) is True
        assert storage.list_files("job") == []
        assert container.job_repository() is jobs


def test_parts_are_built_anew_for_the_next_run(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    for number in range(3):
        with running(container):
            assert container.job_repository().add_job(job(f"job-{number}")) is True
            assert container.broadcaster().subscribe(print)

    with running(container):
        assert len(container.job_repository().find_jobs().jobs) == 3


def test_a_replacement_is_neither_closed_nor_made_to_refuse(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/own.db")
    storage, workers = LocalJobStorage(tmp_path / "own"), MemoryWorkerRegistry()
    container = Container(
        settings=providers.Object(
            Settings.model_validate({"CL_SERVER_DIR": str(tmp_path), "BROADCAST_TYPE": "memory"})
        ),
        engine=providers.Object(engine),
        job_storage=providers.Object(storage),
        memory_workers=providers.Object(workers),
    )
    with running(container):
        container.job_repository().add_job(job())
        assert container.worker_registry() is workers
        container.worker_presence()
        assert len(workers.workers()) == 1

    assert storage.list_files("job") == []
    assert workers.workers() == ()  # its presence is gone; it still answers
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT job_id FROM jobs").all() == [("job",)]
    engine.dispose()


def test_who_waits_for_a_job_is_told_at_the_end(tmp_path: Path) -> None:
    told: list[BaseException] = []

    def wait() -> None:
        try:
            jobs.wait_for_job("job", 60)
        except ClServerError as error:
            told.append(error)

    container = made_for(tmp_path)
    with running(container):
        jobs = container.job_repository()
        jobs.add_job(job())
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: any(each.name == "db-watch" for each in threading.enumerate()))
    waiting.join(10)

    assert not waiting.is_alive()
    assert "closed" in str(told[0])


def test_a_closed_containers_claims_end_with_their_lease(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = made_for(tmp_path), made_for(tmp_path)
    for each in (first, second):
        each.override_providers(clock=providers.Object(clock))
    with running(second):
        with running(first):
            first.job_repository().add_job(job())
            assert first.job_repository().fetch_next_job(["resize"]) is not None
            leases = first.leases()
        for _ in range(2):
            clock.advance(20)
            leases.renew()  # as its thread did; the lease is 30 s

        assert second.job_repository().fetch_next_job(["resize"]) is not None


def running_timers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if isinstance(each, threading.Timer)}


def test_progress_that_comes_too_late_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    container, before = made_for(tmp_path, PROGRESS_MAX_PER_SECOND=1), running_timers()
    with caplog.at_level(logging.WARNING), running(container):
        jobs = container.job_repository()
        jobs.add_job(job())
        jobs.fetch_next_job(["resize"])
        assert jobs.update_job("job", at(1)) is True
        assert jobs.update_job("job", at(2)) is True  # held back

    wait_until(lambda: "progress 2 was not stored" in caplog.text)
    wait_until(lambda: running_timers() <= before)
    assert "trying again" not in caplog.text


# Nested blocks


def is_open(container: Container, part: JobManagement) -> bool:
    return part is container.job_repository() and part.get_job("unknown") is None


def test_only_the_last_exit_closes(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    with running(container):
        jobs = container.job_repository()
        with running(container), running(container) as same:
            assert same is container
        assert is_open(container, jobs)

    with pytest.raises(ContainerClosedError):
        jobs.get_job("unknown")


def test_one_running_object_may_be_entered_twice(tmp_path: Path) -> None:
    block = running(made_for(tmp_path))
    with block as container:
        jobs = container.job_repository()
        with block:
            pass
        assert is_open(container, jobs)

    with pytest.raises(ContainerClosedError):
        jobs.get_job("unknown")


def test_the_last_exit_need_not_be_the_first_entrys(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    first, second = running(container), running(container)
    first.__enter__()
    jobs = container.job_repository()
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_open(container, jobs)
    second.__exit__(None, None, None)

    with pytest.raises(ContainerClosedError):
        jobs.get_job("unknown")


@pytest.mark.anyio
async def test_sync_and_async_blocks_are_counted_together(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    with running(container):
        async with running(container):
            jobs = container.job_repository()
        assert is_open(container, jobs)
        async with running(container), running(container):
            assert is_open(container, jobs)

    async with running(container):
        again = container.job_repository()
        with running(container):
            pass
        assert is_open(container, again)
    with pytest.raises(ContainerClosedError):
        again.get_job("unknown")


def test_blocks_in_many_threads_close_once_and_work_to_the_end(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_number in range(10):
                with running(container):
                    new = job(f"{number}-{round_number}")
                    assert container.job_repository().add_job(new) is True
        except BaseException as error:  # noqa: BLE001  # it is told in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    with running(container):
        assert container.job_repository().count_jobs() == {"queued": {"resize": 80}}


def test_who_enters_while_another_closes_waits_and_gets_new_parts(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    is_closing, may_close = threading.Event(), threading.Event()
    order: list[object] = []

    def close_slowly() -> None:
        is_closing.set()
        may_close.wait(30)
        order.append("closed")

    def enter() -> None:
        with running(container):
            order.append(container.job_repository().get_job("unknown"))

    def run_and_close() -> None:
        with running(container):
            container.job_repository()
            container.closing().callback(close_slowly)

    closing, entering = threading.Thread(target=run_and_close), threading.Thread(target=enter)
    closing.start()
    assert is_closing.wait(30)
    entering.start()
    entering.join(0.1)  # time enough to do it wrong
    may_close.set()
    entering.join(30)
    closing.join(30)

    assert order == ["closed", None]


def ended_by_sigterm_after_a_nested_block(folder: Path) -> tuple[object, bool]:
    """Return the exit code, and whether the outer block closed its container."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    container = made_for(folder)
    broadcaster = container.broadcaster()
    try:
        with running(container):
            with running(container):
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(30)
    except SystemExit as end:
        code = end.code
    else:
        code = "not ended"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    try:
        broadcaster.subscribe(print)
    except ContainerClosedError:
        return code, True
    return code, False


def test_sigterm_ends_the_outermost_block_and_closes(tmp_path: Path) -> None:
    with child(partial(ended_by_sigterm_after_a_nested_block, tmp_path)) as process:
        assert process.result() == (143, True)


def test_a_closed_memory_broadcaster_still_shows_what_was_published(tmp_path: Path) -> None:
    with running(made_for(tmp_path)) as container:
        container.job_repository().add_job(job())
        broadcaster = container.broadcaster()

    assert isinstance(broadcaster, MemoryBroadcaster)
    assert [event.job_id for event in broadcaster.published] == ["job"]

"""The container builds each part once, lets each be swapped, and closes what it built."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from dependency_injector import providers
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from cl_server_shared.config import Config, Settings, forget_settings
from cl_server_shared.container import Container, process_container, running
from cl_server_shared.database import make_engine
from cl_server_shared.errors import ClServerError, ConfigError, DatabaseError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.events.stream import events
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.integrations.ml_tools import MlToolsFileStorage, MlToolsJobRepository
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.repository import RepositoryParts, SqlJobRepository
from cl_server_shared.presence.memory import MemoryPresence, MemoryWorkerRegistry
from cl_server_shared.process.clock import SystemClock
from cl_server_shared.process.masked_url import MaskedUrl
from cl_server_shared.shared_db import JobRepositoryService
from tests.support.repositories import NOON, ManualClock, job

NAMES = sorted(cast("dict[str, object]", Container.providers))


def made_for(folder: Path, **changed: object) -> Container:
    values = {"CL_SERVER_DIR": str(folder), "BROADCAST_TYPE": "memory", **changed}
    return Container(settings=providers.Object(Settings.model_validate(values)))


def resolved(container: Container, name: str) -> object:
    """Resolve a provider by its name, as no typed code does."""
    return cast("providers.Provider[object]", getattr(container, name))()


def test_every_provider_builds_what_its_type_says(tmp_path: Path) -> None:
    with running(made_for(tmp_path)) as container:
        built = {name: type(resolved(container, name)) for name in NAMES}

    assert built == {
        "async_job_repository": AsyncJobRepository,
        "broadcaster": MemoryBroadcaster,
        "clock": SystemClock,
        "closing": ExitStack,
        "database_url": MaskedUrl,
        "engine": Engine,
        "job_repository": SqlJobRepository,
        "job_storage": LocalJobStorage,
        "leases": LeaseKeeper,
        "media_storage": LocalJobStorage,
        "memory_workers": MemoryWorkerRegistry,
        "outbox": OutboxRelay,
        "repository_parts": RepositoryParts,
        "session_factory": sessionmaker,
        "settings": Settings,
        "worker_presence": MemoryPresence,
        "worker_registry": MemoryWorkerRegistry,
    }


def kinds_of_provider(part: object) -> dict[str, object]:
    """Return what a part may be given as: a provider that has it, one that makes it, itself."""
    return {
        "Object": providers.Object(part),
        "Singleton": providers.Singleton(lambda: part),
        "Factory": providers.Factory(lambda: part),
        "itself": part,
    }


@pytest.mark.parametrize("kind", kinds_of_provider(0))
@pytest.mark.parametrize("name", NAMES)
def test_every_provider_can_be_replaced_by_its_name(tmp_path: Path, name: str, kind: str) -> None:
    with running(made_for(tmp_path)) as other:
        replacement = resolved(other, name)
        container = Container(**{name: kinds_of_provider(replacement)[kind]})

        assert resolved(container, name) is replacement


@pytest.mark.parametrize("kind", kinds_of_provider(0))
@pytest.mark.parametrize("name", NAMES)
def test_a_replacement_that_does_not_fit_is_refused(name: str, kind: str) -> None:
    given = kinds_of_provider(3.5)[kind]

    with pytest.raises(ConfigError, match=f"^{name} is of type float, which does not fit .*lacks "):
        resolved(Container(**{name: given}), name)


@pytest.mark.parametrize("kind", ["Object", "itself"])
def test_an_object_that_does_not_fit_is_refused_when_it_is_given(kind: str) -> None:
    lacking = "it lacks allocate_path, create_directory, list_files, open, "
    with pytest.raises(ConfigError, match="job_storage is of type dict.* JobStorage: " + lacking):
        Container(job_storage=kinds_of_provider({})[kind])


def test_a_class_or_a_provider_is_no_replacement_for_an_object(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clock is the class SystemClock itself.*call the class"):
        Container(clock=providers.Object(SystemClock))
    with pytest.raises(ConfigError, match=r"clock is a provider .*`container\.clock\(\)`"):
        Container(clock=providers.Object(made_for(tmp_path).clock))


@pytest.mark.parametrize("name", ["clock", "broadcaster", "job_repository"])
def test_an_override_that_does_not_fit_is_refused_by_who_needs_it(
    tmp_path: Path, name: str
) -> None:
    container = made_for(tmp_path)
    container.override_providers(**{name: providers.Object(3.5)})

    with pytest.raises(ConfigError, match=f"^{name} is of type float"):
        container.async_job_repository()


def provider_instead_of(name: str) -> str:
    return rf"is a provider \(.*\), and must be a .*: call the provider.*`container\.{name}\(\)`"


def call(function: object, *arguments: object) -> object:
    """Call with arguments that the type checker would refuse."""
    assert callable(function)
    return function(*arguments)


def test_a_provider_instead_of_its_part_is_refused(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    with pytest.raises(ConfigError, match=provider_instead_of("session_factory")):
        call(JobRepositoryService, container.session_factory)
    with pytest.raises(ConfigError, match="Engine, and must be a sessionmaker"):
        call(JobRepositoryService, container.engine())
    with pytest.raises(ConfigError, match=provider_instead_of("broadcaster")):
        call(events, container.broadcaster)
    with pytest.raises(ConfigError, match=provider_instead_of("storage")):
        call(MlToolsFileStorage, container.job_storage)
    with pytest.raises(ConfigError, match=provider_instead_of("repository")):
        call(MlToolsJobRepository, container.job_repository, container.job_storage())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Container, r"the class Container itself: call it, as in `running\(Container\(\)\)`"),
        (Container.clock, "container is a provider"),
        (None, r"an object of type NoneType: give it a `Container\(\)`"),
    ],
)
def test_only_a_container_runs(given: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        call(running, given)


@pytest.mark.parametrize("name", NAMES)
def test_containers_share_nothing(tmp_path: Path, name: str) -> None:
    if name in {"settings", "database_url"}:
        assert resolved(made_for(tmp_path), name) == resolved(made_for(tmp_path), name)
    else:
        assert resolved(made_for(tmp_path), name) is not resolved(made_for(tmp_path), name)


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="brodcaster"):
        Container(brodcaster=providers.Object(NoneBroadcaster()))


@pytest.mark.parametrize("name", NAMES)
def test_eight_threads_get_one_object(tmp_path: Path, name: str) -> None:
    container = made_for(tmp_path)
    together = threading.Barrier(8)

    def resolve(_: int) -> int:
        together.wait()
        return id(resolved(container, name))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(resolve, range(8)))) == 1


def test_a_replaced_part_is_what_the_others_get(tmp_path: Path) -> None:
    broadcaster = MemoryBroadcaster()
    container = made_for(tmp_path)
    container.override_providers(
        clock=providers.Object(ManualClock()), broadcaster=providers.Object(broadcaster)
    )
    with running(container):
        container.job_repository().add_job(job())

    told = [(event.job_id, event.timestamp) for event in broadcaster.published]
    assert told == [("job", NOON)]


@pytest.mark.parametrize(
    ("word", "kind"),
    [("mqtt", MqttBroadcaster), ("memory", MemoryBroadcaster), ("none", NoneBroadcaster)],
)
def test_the_broadcaster_is_chosen_by_its_setting(tmp_path: Path, word: str, kind: type) -> None:
    with running(made_for(tmp_path, BROADCAST_TYPE=word)) as container:
        assert type(container.broadcaster()) is kind


def test_the_storages_lie_where_the_settings_say(tmp_path: Path) -> None:
    container = made_for(tmp_path)

    places = [each().resolve_path("j") for each in (container.job_storage, container.media_storage)]
    assert places == [tmp_path / "compute/jobs/j", tmp_path / "media/jobs/j"]


def test_settings_reach_the_repository(tmp_path: Path) -> None:
    container = made_for(
        tmp_path,
        JOB_MAX_RETRIES=7,
        JOB_RETRY_BASE_SECONDS=2,
        JOB_RETRY_MAX_SECONDS=9,
        JOB_JSON_MAX_BYTES=99,
        PROGRESS_MAX_PER_SECOND=5,
        JOB_LEASE_SECONDS=11,
        SCHEMA_AUTO_UPGRADE=False,
        SQLITE_WAL=False,
        SQLITE_SYNCHRONOUS="FULL",
        DATABASE_LOCK_TIMEOUT_SECONDS=3,
        WORKER_ID="w7",
    )
    parts = container.repository_parts()

    policy, options = parts.policy, parts.options
    assert (policy.max_retries, policy.json_max_bytes, policy.progress_max_per_second) == (7, 99, 5)
    assert (policy.retry.base_seconds, policy.retry.max_seconds) == (2, 9)
    assert (options.may_upgrade, options.sqlite_wal, options.sqlite_synchronous) == (
        False,
        False,
        "FULL",
    )
    assert options.lock_timeout_seconds == 3
    assert parts.worker_id.startswith("w7")
    assert parts.leases.lease_ms == 11_000


def test_a_wrong_setting_is_told_by_the_part_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="CL_SERVER_DIR"):
        Container().job_repository()
    with pytest.raises(DatabaseError, match="cannot be used"):
        made_for(tmp_path, DATABASE_URL="nonsense").job_repository()
    with pytest.raises(DatabaseError) as refused:
        made_for(tmp_path, DATABASE_URL="postgresql://u:pa@ss:word@host/jobs").job_repository()
    assert str(refused.value) == (
        "the database URL postgresql://u:***@host/jobs cannot be read: is its port a number?"
    )
    assert refused.value.__suppress_context__


def is_closed(broadcaster: object) -> bool:
    assert isinstance(broadcaster, MemoryBroadcaster)
    try:
        broadcaster.subscribe(lambda _event: None).close()
    except ClServerError:
        return True
    return False


def use(container: Container) -> tuple[Engine, object]:
    engine = container.engine()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    return engine, container.broadcaster()


def open_connections(engine: Engine) -> str:
    return engine.pool.status().split("Connections in pool: ")[1].split()[0]


def test_the_end_of_a_run_closes_engine_and_broadcaster(tmp_path: Path) -> None:
    with running(made_for(tmp_path)) as container:
        engine, broadcaster = use(container)
        assert (open_connections(engine), is_closed(broadcaster)) == ("1", False)

    assert (open_connections(engine), is_closed(broadcaster)) == ("0", True)


@pytest.mark.anyio
async def test_the_end_of_an_async_run_closes_them_too(tmp_path: Path) -> None:
    async with running(made_for(tmp_path)) as container:
        engine, broadcaster = use(container)
        assert await container.async_job_repository().add_job(job()) is True
        assert is_closed(broadcaster) is False

    assert (open_connections(engine), is_closed(broadcaster)) == ("0", True)


def test_an_error_in_the_block_comes_through_and_closes_them(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    engine, broadcaster = use(container)
    with pytest.raises(KeyError), running(container):
        raise KeyError

    assert (open_connections(engine), is_closed(broadcaster)) == ("0", True)


def fail() -> None:
    raise OSError("cannot close")


def test_a_part_that_fails_to_close_keeps_none_open_and_the_next_run_starts_anew(
    tmp_path: Path,
) -> None:
    container = made_for(tmp_path)
    engine = container.engine()
    container.closing().callback(fail)
    _, broadcaster = use(container)
    with pytest.raises(OSError, match="cannot close"), running(container):
        pass

    assert (open_connections(engine), is_closed(broadcaster)) == ("0", True)
    with running(container):
        new_engine, new_broadcaster = use(container)
        assert is_closed(new_broadcaster) is False
        assert new_engine is not engine


def test_a_container_may_run_again(tmp_path: Path) -> None:
    container = made_for(tmp_path)
    with running(container):
        first = container.job_repository()
        first.add_job(job())
    with running(container):
        second = container.job_repository()

        assert second is not first
        assert second.get_job("job") == job()


def test_a_run_that_used_nothing_ends_quietly() -> None:
    with running(Container()):
        pass


def test_repositories_without_a_container_share_the_processs_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BROADCAST_TYPE", "memory")
    monkeypatch.delenv("CL_SERVER_DIR", raising=False)
    forget_settings()
    process_container.cache_clear()
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    try:
        with running(process_container()) as container:
            JobRepositoryService(sessionmaker(engine)).add_job(job())
            broadcaster = container.broadcaster()
            assert isinstance(broadcaster, MemoryBroadcaster)
            assert [event.job_id for event in broadcaster.published] == ["job"]
            assert container.settings() is Config
            kept = JobRepositoryService(sessionmaker(engine))
            kept.add_job(job("while-open"))
        with caplog.at_level(logging.WARNING):
            assert kept.add_job(job("when-closed")) is True
        assert "job when-closed: event 1 was not announced" in caplog.text
    finally:
        process_container.cache_clear()
        forget_settings()
        engine.dispose()

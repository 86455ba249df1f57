"""The ways in: import paths, and what coming in costs."""

import os
import subprocess
import sys
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy.orm import Session, sessionmaker

import cl_server_shared
from cl_server_shared import errors, models
from cl_server_shared.config import forget_settings
from cl_server_shared.database import make_engine
from cl_server_shared.errors import ConfigError
from cl_server_shared.job_storage import JobStorageService
from cl_server_shared.shared_db import JobRepositoryService
from tests.support.processes import child

PATHS = [
    ("cl_server_shared", "Config"),
    ("cl_server_shared", "JobStorageService"),
    ("cl_server_shared", "JobRepositoryService"),
    ("cl_server_shared.config", "Config"),
    ("cl_server_shared.job_storage", "JobStorageService"),
    ("cl_server_shared.shared_db", "JobRepositoryService"),
    ("cl_server_shared.models", "Base"),
    ("cl_server_shared.models", "Job"),
    ("cl_server_shared.models", "QueueEntry"),
]
"""What existing services import."""


def subclasses(root: type[BaseException]) -> list[type[BaseException]]:
    return [root, *(each for child in root.__subclasses__() for each in subclasses(child))]


def imported(module: str, name: str) -> object:
    return cast("object", getattr(import_module(module), name))


@pytest.mark.parametrize(("module", "name"), PATHS)
def test_the_import_paths_of_existing_services_work(module: str, name: str) -> None:
    assert imported(module, name) is not None
    if module != "cl_server_shared" and name in cl_server_shared.__all__:
        assert imported(module, name) is imported("cl_server_shared", name)


@pytest.mark.parametrize("name", cl_server_shared.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert imported("cl_server_shared", name) is not None
    assert name in dir(cl_server_shared)


def test_public_names_are_sorted_and_all_there() -> None:
    public, tables = set(cl_server_shared.__all__), {"Base", "Job", "QueueEntry"}

    assert sorted(cl_server_shared.__all__) == cl_server_shared.__all__
    assert sorted(models.__all__) == models.__all__
    assert {each.__name__ for each in subclasses(errors.ClServerError)} <= public
    assert set(models.__all__) - tables <= public


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'JobRepo'"):
        imported("cl_server_shared", "JobRepo")


def imported_by(statement: str) -> set[str]:
    """Return the packages that a statement imports in an empty environment."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    told = subprocess.run(command, env={}, capture_output=True, text=True, check=True).stderr
    names = [line.rpartition("|")[2].strip() for line in told.splitlines()]
    return {name.partition(".")[0] for name in names}


HEAVY = {"paho", "fastapi", "dependency_injector", "alembic", "psycopg", "cl_ml_tools"}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import cl_server_shared", {*HEAVY, "sqlalchemy", "pydantic", "anyio"}),
        ("import cl_server_shared.models", {*HEAVY, "pydantic_settings", "anyio"}),
        ("from cl_server_shared import Config", {*HEAVY, "sqlalchemy"}),
        (
            "from cl_server_shared import JobRepositoryService, JobStorageService",
            HEAVY - {"dependency_injector", "fastapi"},  # it looks whether that is installed
        ),
    ],
)
def test_importing_brings_in_only_what_is_needed(statement: str, unwanted: set[str]) -> None:
    names = imported_by(statement)

    assert "cl_server_shared" in names
    assert names & unwanted == set()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def started_and_opened_by_a_thousand(folder: Path) -> tuple[int, int, list[str]]:
    """Build 1,000 repositories; count the new threads and descriptors, list the new files."""
    os.environ |= {"BROADCAST_TYPE": "mqtt", "MQTT_BROKER": "127.0.0.1", "MQTT_PORT": "9"}
    os.environ.pop("CL_SERVER_DIR", None)
    engine = make_engine(f"sqlite:///{folder}/jobs.db")
    sessions = sessionmaker(engine, autoflush=False, autocommit=False, class_=Session)
    before = threading.active_count(), descriptors()
    repositories = [JobRepositoryService(sessions) for _ in range(1000)]
    assert len({id(repository) for repository in repositories}) == 1000
    after = threading.active_count(), descriptors()
    return after[0] - before[0], after[1] - before[1], [each.name for each in folder.iterdir()]


def test_a_thousand_repositories_start_nothing_and_open_nothing(tmp_path: Path) -> None:
    """They are made per request; and the broker that they would tell need not be there."""
    with child(partial(started_and_opened_by_a_thousand, tmp_path)) as service:
        assert service.result() == (0, 0, [])


def test_a_storage_without_a_folder_is_told_which_setting_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CL_SERVER_DIR", raising=False)
    forget_settings()

    with pytest.raises(ConfigError, match="CL_SERVER_DIR is not set"):
        JobStorageService()
    forget_settings()


def test_a_storage_uses_the_media_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path))
    forget_settings()

    assert JobStorageService().resolve_path("j") == tmp_path / "media/jobs/j"
    assert JobStorageService(base_dir=f"{tmp_path}/x").resolve_path("j") == tmp_path / "x/jobs/j"
    forget_settings()

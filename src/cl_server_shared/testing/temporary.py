"""A container that lives as long as a test."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Final, final, override

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cl_server_shared.config import Settings
from cl_server_shared.container import Container, running
from cl_server_shared.errors import ConfigError

_ALONE: Final = {"BROADCAST_TYPE": "memory", "SQLITE_SYNCHRONOUS": "OFF"}
"""A test's database need not survive the machine, and its events stay in the process."""


@final
class _GivenSettings(Settings):
    """Settings that do not read the environment."""

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@contextmanager
def temporary_container(folder: str | PathLike[str], **changed: object) -> Generator[Container]:
    """Give a container for a `with` block, which reads no environment and needs no server.

    All that it keeps lies in *folder*, jobs in an SQLite file; events stay in this process.

    Args:
        folder: exists, like pytest's `tmp_path`.
        changed: settings by their names (`JOB_MAX_RETRIES=0`), and parts by the names of their
            providers (`clock=ManualClock()`).

    Raises:
        ConfigError: a name is neither, or a setting's value is not allowed.
    """
    settings = {name: value for name, value in changed.items() if name.isupper()}
    parts = {name: part for name, part in changed.items() if name not in settings}
    container = Container()
    _refuse_unknown(parts, container.providers)
    container.override_providers(settings=_settings(folder, settings), **parts)
    with running(container):
        yield container


def _settings(folder: str | PathLike[str], changed: dict[str, object]) -> Settings:
    try:
        return _GivenSettings.model_validate({"CL_SERVER_DIR": fspath(folder), **_ALONE, **changed})
    except ValidationError as error:
        found = (f"{detail['loc'][0]}: {detail['msg']}" for detail in error.errors())
        raise ConfigError("; ".join(found)) from error


def _refuse_unknown(parts: Iterable[str], known: Iterable[str]) -> None:
    if unknown := set(parts).difference(known):
        raise ConfigError(f"no part of a container, and no setting, is called {sorted(unknown)}")

"""A container that lives as long as a test."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Final, final, override

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cl_server_shared.config import Settings, settings_from
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
        ConfigError: a name is neither, a setting's value is not allowed, or a part does not fit.
    """
    parts = {name: part for name, part in changed.items() if name in Container.providers}
    settings = {name: value for name, value in changed.items() if name not in parts}
    _refuse_unknown(settings)
    with running(Container(**{"settings": _settings(folder, settings), **parts})) as container:
        yield container


def _settings(folder: str | PathLike[str], changed: Mapping[str, object]) -> Settings:
    given = {"CL_SERVER_DIR": fspath(folder), **_ALONE, **changed}
    return settings_from(_GivenSettings, given)


def _refuse_unknown(settings: Iterable[str]) -> None:
    if unknown := sorted(set(settings).difference(Settings.model_fields)):
        raise ConfigError(f"there is no setting or part {', '.join(unknown)}")

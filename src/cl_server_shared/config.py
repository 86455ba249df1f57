"""Settings from the environment; `Config` reads them when an attribute is first asked for.

A field's name is the variable's name: what one types in the shell is what one reads in the code.
"""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast, final, override

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cl_server_shared.errors import ConfigError
from cl_server_shared.process.masked_url import MaskedUrl, masked_url
from cl_server_shared.setting_types import (
    LOWER,
    UPPER,
    CaFile,
    DatabaseUrl,
    MqttPassword,
    PathText,
    PositiveSeconds,
    Topic,
    Words,
    WritableFolder,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def _in_folder(name: str) -> Callable[[dict[str, object]], str]:
    # Without the folder the settings are refused; before 2.14, pydantic asks all the same.
    return lambda fields: str(Path(str(fields.get("CL_SERVER_DIR")), name))


def _sqlite(name: str) -> Callable[[dict[str, object]], str]:
    def default(fields: dict[str, object]) -> str:
        return MaskedUrl(fields.get("DATABASE_URL") or f"sqlite:///{_in_folder(name)(fields)}")

    return default


def _store_database(fields: dict[str, object]) -> str:
    return MaskedUrl(fields.get("STORE_DATABASE_URL"))


def _default_worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class FolderlessSettings(BaseSettings):
    """The settings that mean something without a base folder.

    A repository on a caller's own session factory reads only these. Durations are in seconds.

    They never change: others are made, `Settings(MQTT_PORT=1884)` or
    `settings.model_copy(update={"MQTT_PORT": 1884})`. An attribute has its real value; printed or
    dumped, passwords are masked, also those inside URLs.

    Raises:
        pydantic.ValidationError: (a ValueError) a value outside what is allowed, or an argument
            that is no setting. `Config` and the container turn it into a `ConfigError`.
        ConfigError: an attribute was set or deleted.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        case_sensitive=True,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    BROADCAST_TYPE: Annotated[Literal["mqtt", "memory", "none"], LOWER] = "mqtt"
    MQTT_BROKER: str = "localhost"
    MQTT_PORT: int = Field(default=1883, ge=1, le=65535)
    MQTT_USERNAME: str | None = None
    MQTT_PASSWORD: MqttPassword | None = None
    MQTT_TLS: bool = False
    MQTT_CA_FILE: CaFile | None = None
    MQTT_TOPIC: Topic = "inference/events"
    MQTT_HEARTBEAT_INTERVAL: PositiveSeconds = 30
    CAPABILITY_TOPIC_PREFIX: Topic = "inference/workers"
    CAPABILITY_CACHE_TIMEOUT: PositiveSeconds = 10

    JOB_LEASE_SECONDS: float = Field(default=30, ge=1, allow_inf_nan=False)
    JOB_MAX_RETRIES: int = Field(default=3, ge=0)
    JOB_RETRY_BASE_SECONDS: PositiveSeconds = 1
    JOB_RETRY_MAX_SECONDS: PositiveSeconds = 300
    JOB_JSON_MAX_BYTES: int = Field(default=1_048_576, ge=2)
    PROGRESS_MAX_PER_SECOND: int = Field(default=20, ge=1)
    SCHEMA_AUTO_UPGRADE: bool = True
    SQLITE_WAL: bool = True
    SQLITE_SYNCHRONOUS: Annotated[Literal["OFF", "NORMAL", "FULL"], UPPER] = "NORMAL"
    STORAGE_FSYNC: bool = False
    DATABASE_LOCK_TIMEOUT_SECONDS: PositiveSeconds = 60
    DATABASE_STATEMENT_TIMEOUT_SECONDS: float = Field(default=0, ge=0, allow_inf_nan=False)
    DATABASE_POOL_SIZE: int = Field(default=15, ge=1)
    DATABASE_TRANSACTION_POOLING: bool = False

    WORKER_ID: str = Field(default_factory=_default_worker_id)
    WORKER_SUPPORTED_TASKS: Words = []
    WORKER_POLL_INTERVAL: PositiveSeconds = 5

    AUTH_DISABLED: bool = False
    READ_AUTH_ENABLED: bool = False
    ADMIN_USERNAME: str = "admin"
    ADMIN_PASSWORD: SecretStr | None = None
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(default=30, ge=1)
    LOG_LEVEL: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], UPPER] = "INFO"

    @override
    def __setattr__(self, name: str, value: object) -> None:
        raise ConfigError(_frozen(name))

    @override
    def __delattr__(self, name: str) -> None:
        raise ConfigError(_frozen(name))

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        shown = cast("Iterable[tuple[str | None, object]]", super().__repr_args__())  # it says Any
        for name, value in shown:  # `model_copy` takes what it is given as it is
            yield name, MaskedUrl(value) if isinstance(value, str) else value


def _frozen(name: str) -> str:
    return (
        f"{name} cannot be changed: settings are frozen. Set {name} in the environment before they "
        f"are read, or make others: Settings({name}=...), "
        f'settings.model_copy(update={{"{name}": ...}})'
    )


class Settings(FolderlessSettings):
    """Every setting. Folders and databases default to places under `CL_SERVER_DIR`.

    A database's own variable wins over `DATABASE_URL`, which wins over the default. Workers read
    the store's database unless `WORKER_DATABASE_URL` says otherwise.

    Raises:
        pydantic.ValidationError: as for `FolderlessSettings`.
    """

    CL_SERVER_DIR: WritableFolder
    DATABASE_URL: DatabaseUrl | None = None
    STORE_DATABASE_URL: DatabaseUrl = Field(default_factory=_sqlite("media_store.db"))
    AUTH_DATABASE_URL: DatabaseUrl = Field(default_factory=_sqlite("user_auth.db"))
    WORKER_DATABASE_URL: DatabaseUrl = Field(default_factory=_store_database)
    MEDIA_STORAGE_DIR: PathText = Field(default_factory=_in_folder("media"))
    COMPUTE_STORAGE_DIR: PathText = Field(default_factory=_in_folder("compute"))
    PRIVATE_KEY_PATH: PathText = Field(default_factory=_in_folder("private_key.pem"))
    PUBLIC_KEY_PATH: PathText = Field(default_factory=_in_folder("public_key.pem"))


def load_settings(**given: object) -> Settings:
    """Read every setting from the environment; those that are *given* win over it.

    Raises:
        ConfigError: names each wrong setting, its value and what is allowed.
    """
    return settings_from(Settings, given)


def load_folderless_settings() -> FolderlessSettings:
    """Read the settings that need no `CL_SERVER_DIR`.

    Raises:
        ConfigError: names each wrong variable, its value and what is allowed.
    """
    return settings_from(FolderlessSettings, {})


def settings_from[S: FolderlessSettings](kind: type[S], given: Mapping[str, object]) -> S:
    """Make settings of a kind, and tell what is wrong in a sentence for each.

    Args:
        kind: which class; it says where settings come from that are not given.
        given: values by the settings' names.

    Raises:
        ConfigError: names each wrong setting, its value and what is allowed.
    """
    try:
        return kind.model_validate(dict(given))  # reads the environment, as `Settings()` does
    except ValidationError as error:
        wrong = [_sentence(detail, given) for detail in error.errors()]
        raise ConfigError("; ".join(sentence for sentence in wrong if sentence)) from error


def _sentence(detail: "ErrorDetails", given: Mapping[str, object]) -> str:
    """Explain one finding; the defaults that could not be derived from it explain nothing."""
    name = str(detail["loc"][0])
    match detail["type"]:
        case "default_factory_not_called":
            return ""
        case "missing":
            return f"{name} is not set: it must name an existing, writable folder"
        case "extra_forbidden":
            return f"there is no setting {name}"
        case _:
            value = _shown(name, given.get(name, os.environ.get(name, "")))
            return f"{name}={value} is not allowed: {detail['msg'].removeprefix('Value error, ')}"


def _shown(name: str, value: object) -> str:
    if "PASSWORD" in name:
        return "(hidden)"
    return repr(masked_url(value)) if isinstance(value, str) else masked_url(repr(value))


@final
class _ConfigFromEnvironment:
    """Reads a setting when its attribute is first used, so that importing needs no environment.

    An attribute that is set shadows the setting until it is deleted: `unittest.mock.patch` works.
    """

    def __getattr__(self, name: str) -> object:
        if name not in Settings.model_fields:
            raise AttributeError(f"there is no setting {name!r}")
        if name in FolderlessSettings.model_fields:
            return cast("object", getattr(_folderless(), name))  # a field's own type is lost here
        return cast("object", getattr(_every(), name))  # likewise


_folderless = cache(load_folderless_settings)
_every = cache(load_settings)

# It only looks like Settings: it answers for every field, with that field's type.
Config: Settings = cast("Settings", cast("object", _ConfigFromEnvironment()))  # see above


def forget_settings() -> None:
    """Make `Config` read the environment again at its next use (for tests)."""
    _folderless.cache_clear()
    _every.cache_clear()

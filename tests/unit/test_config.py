"""Settings from the environment: their defaults, what wins, and what is told of wrong ones."""

import os
import pickle
import pprint
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast
from unittest import mock

import pytest
from pydantic import SecretStr, ValidationError

import cl_server_shared
from cl_server_shared.config import (
    Config,
    FolderlessSettings,
    Settings,
    forget_settings,
    load_folderless_settings,
    load_settings,
)
from cl_server_shared.errors import ConfigError
from tests.support.processes import child


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment with nothing of ours but a base folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CL_SERVER_DIR", str(tmp_path))
    forget_settings()
    yield
    forget_settings()


def test_defaults_are_those_that_services_know(tmp_path: Path) -> None:
    settings = load_settings()

    assert settings.model_dump(exclude={"WORKER_ID"}) == {
        "CL_SERVER_DIR": str(tmp_path),
        "DATABASE_URL": None,
        "STORE_DATABASE_URL": f"sqlite:///{tmp_path}/media_store.db",
        "AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/user_auth.db",
        "WORKER_DATABASE_URL": f"sqlite:///{tmp_path}/media_store.db",
        "MEDIA_STORAGE_DIR": f"{tmp_path}/media",
        "COMPUTE_STORAGE_DIR": f"{tmp_path}/compute",
        "PRIVATE_KEY_PATH": f"{tmp_path}/private_key.pem",
        "PUBLIC_KEY_PATH": f"{tmp_path}/public_key.pem",
        "BROADCAST_TYPE": "mqtt",
        "MQTT_BROKER": "localhost",
        "MQTT_PORT": 1883,
        "MQTT_USERNAME": None,
        "MQTT_PASSWORD": None,
        "MQTT_TLS": False,
        "MQTT_CA_FILE": None,
        "MQTT_TOPIC": "inference/events",
        "MQTT_HEARTBEAT_INTERVAL": 30,
        "CAPABILITY_TOPIC_PREFIX": "inference/workers",
        "CAPABILITY_CACHE_TIMEOUT": 10,
        "JOB_LEASE_SECONDS": 30,
        "JOB_MAX_RETRIES": 3,
        "JOB_RETRY_BASE_SECONDS": 1,
        "JOB_RETRY_MAX_SECONDS": 300,
        "JOB_JSON_MAX_BYTES": 1_048_576,
        "PROGRESS_MAX_PER_SECOND": 20,
        "SCHEMA_AUTO_UPGRADE": True,
        "SQLITE_WAL": True,
        "SQLITE_SYNCHRONOUS": "NORMAL",
        "STORAGE_FSYNC": False,
        "DATABASE_LOCK_TIMEOUT_SECONDS": 60,
        "DATABASE_STATEMENT_TIMEOUT_SECONDS": 0,
        "DATABASE_POOL_SIZE": 15,
        "DATABASE_TRANSACTION_POOLING": False,
        "WORKER_SUPPORTED_TASKS": [],
        "WORKER_POLL_INTERVAL": 5,
        "AUTH_DISABLED": False,
        "READ_AUTH_ENABLED": False,
        "ADMIN_USERNAME": "admin",
        "ADMIN_PASSWORD": None,
        "ACCESS_TOKEN_EXPIRE_MINUTES": 30,
        "LOG_LEVEL": "INFO",
    }


def test_a_worker_is_called_by_its_host_and_process() -> None:
    assert load_settings().WORKER_ID.endswith(f"-{os.getpid()}")


def test_making_settings_makes_no_folder(tmp_path: Path) -> None:
    load_settings()

    assert list(tmp_path.iterdir()) == []


def test_folders_may_be_given_as_paths(tmp_path: Path) -> None:
    given = {"CL_SERVER_DIR": tmp_path, "COMPUTE_STORAGE_DIR": tmp_path / "jobs"}

    settings = Settings.model_validate(given)

    assert str(tmp_path) == settings.CL_SERVER_DIR
    assert str(tmp_path / "jobs") == settings.COMPUTE_STORAGE_DIR
    assert str(tmp_path / "media") == settings.MEDIA_STORAGE_DIR


def test_a_databases_own_variable_wins_over_the_common_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://all")
    monkeypatch.setenv("STORE_DATABASE_URL", "postgresql://store")

    settings = load_settings()

    assert settings.AUTH_DATABASE_URL == "postgresql://all"
    assert settings.STORE_DATABASE_URL == "postgresql://store"
    assert settings.WORKER_DATABASE_URL == "postgresql://store"


def test_values_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "MQTT_PORT": " 1884 ",
        "WORKER_SUPPORTED_TASKS": "resize, ,convert ,",
        "BROADCAST_TYPE": "NONE",
        "LOG_LEVEL": "debug",
        "SQLITE_SYNCHRONOUS": "full",
        "AUTH_DISABLED": "yes",
        "WORKER_POLL_INTERVAL": "0.5",
        "MQTT_BROKER": "",
    }
    for name, value in written.items():
        monkeypatch.setenv(name, value)

    read = load_settings().model_dump(include=set(written))

    assert read == {
        "MQTT_PORT": 1884,
        "WORKER_SUPPORTED_TASKS": ["resize", "convert"],
        "BROADCAST_TYPE": "none",
        "LOG_LEVEL": "DEBUG",
        "SQLITE_SYNCHRONOUS": "FULL",
        "AUTH_DISABLED": True,
        "WORKER_POLL_INTERVAL": 0.5,
        "MQTT_BROKER": "localhost",
    }


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MQTT_PORT", "many", "integer"),
        ("MQTT_PORT", "0", "greater than or equal to 1"),
        ("MQTT_PORT", "65536", "less than or equal to 65535"),
        ("BROADCAST_TYPE", "carrier pigeon", "'mqtt', 'memory' or 'none'"),
        ("MQTT_TOPIC", "jobs/#", "without +, # and NUL"),
        ("MQTT_CA_FILE", "/no/such/file", "needs MQTT_TLS=true: set it, or unset the file"),
        ("WORKER_POLL_INTERVAL", "nan", "finite"),
        ("WORKER_POLL_INTERVAL", "0", "greater than 0"),
        ("JOB_LEASE_SECONDS", "0.5", "greater than or equal to 1"),
        ("JOB_MAX_RETRIES", "-1", "greater than or equal to 0"),
        ("AUTH_DISABLED", "perhaps", "boolean"),
        ("LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("SQLITE_SYNCHRONOUS", "SOMETIMES", "'OFF', 'NORMAL' or 'FULL'"),
        ("CL_SERVER_DIR", "/no/such/folder", "existing folder"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as refused:
        load_settings()

    assert str(refused.value).startswith(f"{name}={value!r} is not allowed: ")
    assert allowed in str(refused.value)
    assert str(refused.value).count(" is not allowed") == 1


@pytest.mark.parametrize("path", ["/no/such/file", "/"])
def test_a_ca_file_must_be_a_readable_file(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("MQTT_TLS", "true")
    monkeypatch.setenv("MQTT_CA_FILE", path)

    with pytest.raises(ConfigError) as refused:
        load_settings()

    assert str(refused.value) == (
        f"MQTT_CA_FILE={path!r} is not allowed: must be an existing file that this user may read"
    )


def test_a_password_without_a_username_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "hunter2")

    with pytest.raises(ConfigError) as refused:
        load_settings()

    assert str(refused.value) == (
        "MQTT_PASSWORD=(hidden) is not allowed: needs MQTT_USERNAME: set it, or unset the password"
    )
    assert "hunter2" not in f"{refused.value.__cause__}"


def test_login_and_tls_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    written = {
        "MQTT_USERNAME": "ada",
        "MQTT_PASSWORD": "hunter2",
        "MQTT_TLS": "1",
        "MQTT_CA_FILE": str(ca_file),
    }
    for name, value in written.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()
    assert settings.MQTT_USERNAME == "ada"
    assert settings.MQTT_TLS is True
    assert Path(settings.MQTT_CA_FILE or "") == ca_file
    assert settings.MQTT_PASSWORD is not None
    assert settings.MQTT_PASSWORD.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_a_missing_base_folder_is_told_as_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_SERVER_DIR")

    with pytest.raises(ConfigError) as refused:
        load_settings()

    assert str(refused.value) == (
        "CL_SERVER_DIR is not set: it must name an existing, writable folder"
    )


def error_of_unprivileged(folder: str) -> str:
    """Read the settings as a user who is not root, who may do anything anywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    os.environ["CL_SERVER_DIR"] = folder
    try:
        load_settings()
    except ConfigError as error:
        return str(error)
    return "accepted"


@pytest.mark.parametrize(
    ("locked", "reason"),
    [("base/locked", "must be writable"), ("private/base", "must be an existing folder")],
)
def test_a_folder_that_this_user_may_not_use_is_refused(locked: str, reason: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, locked)
        folder.mkdir(parents=True)
        folder.chmod(0o555)
        folder.parent.chmod(0 if folder.parent.name == "private" else 0o755)
        Path(name).chmod(0o755)
        with child(partial(error_of_unprivileged, str(folder))) as unprivileged:
            told = unprivileged.result()

    assert told.startswith(f"CL_SERVER_DIR={str(folder)!r} is not allowed: {reason}")


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PORT", "many")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")

    with pytest.raises(ConfigError, match=r"MQTT_PORT='many'.*; LOG_LEVEL='LOUD'"):
        load_settings()


def test_secrets_show_neither_in_repr_nor_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@host/jobs")

    settings = load_settings()
    monkeypatch.setenv("MQTT_PORT", "many")
    with pytest.raises(ConfigError) as refused:
        load_settings()

    assert "hunter2" not in f"{settings!r} {settings} {refused.value} {refused.value.__cause__}"
    assert settings.ADMIN_PASSWORD is not None
    assert settings.ADMIN_PASSWORD.get_secret_value() == "hunter2"


def printed_forms(settings: Settings) -> dict[str, str]:
    """Return every way in which settings come before people's eyes."""
    return {
        "repr": repr(settings),
        "str": str(settings),
        "dump": str(settings.model_dump()),
        "json dump": str(settings.model_dump(mode="json")),
        "json": settings.model_dump_json(),
        "dict": str(dict(settings)),
        "vars": str(vars(settings)),
        "rich": str(list(settings.__rich_repr__())),
        "pprint": pprint.pformat(settings),
    }


URL_FIELDS = ["DATABASE_URL", "STORE_DATABASE_URL", "AUTH_DATABASE_URL", "WORKER_DATABASE_URL"]


@pytest.mark.parametrize("name", [*URL_FIELDS, "ADMIN_PASSWORD", "MQTT_PASSWORD"])
@pytest.mark.parametrize("password", ["hunter2", "hunter2%40%2F", "hunter2@more/and?more"])
def test_no_printed_form_shows_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    secret = f"postgresql://me:{password}@host/jobs" if name in URL_FIELDS else password
    monkeypatch.setenv("MQTT_USERNAME", "me")
    monkeypatch.setenv(name, secret)
    settings = load_settings()

    shown = printed_forms(settings)
    assert {form for form, text in shown.items() if "hunter2" in text or "more" in text} == set()
    assert all(name in text for text in shown.values())
    value = cast("object", getattr(settings, name))  # getattr gives Any
    assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == secret


def test_a_copys_urls_are_masked_too(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@host/jobs"
    settings = Settings(CL_SERVER_DIR=str(tmp_path)).model_copy(update={"DATABASE_URL": url})

    assert url == settings.DATABASE_URL
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert "me:***@host" in settings.model_dump_json()


def test_a_password_in_a_wrong_value_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PORT", "mqtt://me:hunter2@host:1883")

    with pytest.raises(
        ConfigError, match=r"^MQTT_PORT='mqtt://me:\*\*\*@host:1883' is not allowed"
    ):
        load_settings()


@pytest.mark.parametrize("name", ["MQTT_PORT", "DATABASE_URL", "MQTT_PROT"])
def test_settings_cannot_be_changed_and_tell_how_others_are_made(name: str) -> None:
    settings = load_settings()

    with pytest.raises(ConfigError) as refused:
        setattr(settings, name, 1)
    assert str(refused.value) == (
        f"{name} cannot be changed: settings are frozen. Set {name} in the environment before they "
        f"are read, or make others: Settings({name}=...), "
        f'settings.model_copy(update={{"{name}": ...}})'
    )
    with pytest.raises(ConfigError, match="cannot be changed"):
        delattr(settings, name)
    assert settings == load_settings()


def test_other_settings_are_made_from_these() -> None:
    settings = load_settings()

    other = settings.model_copy(update={"MQTT_PORT": 1884})
    assert (settings.MQTT_PORT, other.MQTT_PORT) == (1883, 1884)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_argument_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="MQTT_PROT"):
        Settings.model_validate({"CL_SERVER_DIR": str(tmp_path), "MQTT_PROT": 1884})


def test_given_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PORT", "1884")
    monkeypatch.setenv("JOB_MAX_RETRIES", "7")

    read = load_settings(MQTT_PORT=1885)

    assert (read.MQTT_PORT, read.JOB_MAX_RETRIES) == (1885, 7)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"MQTT_PROT": 1884}, "there is no setting MQTT_PROT"),
        (
            {"JOB_MAX_RETRIES": -1, "A": 1},
            (
                "JOB_MAX_RETRIES=-1 is not allowed: Input should be greater than or equal to 0; "
                "there is no setting A"
            ),
        ),
        (
            {"DATABASE_URL": 1, "MQTT_PASSWORD": b"x\xff"},
            (
                "MQTT_PASSWORD=(hidden) is not allowed: Input should be a valid string; "
                "DATABASE_URL=1 is not allowed: Input should be a valid string"
            ),
        ),
    ],
)
def test_a_given_setting_that_is_wrong_or_unknown_is_told_in_one_sentence(
    given: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(**given)

    assert str(refused.value) == told


def test_a_password_in_a_given_value_is_not_told() -> None:
    url = ["postgresql://me:hunter2@host/jobs"]
    with pytest.raises(ConfigError, match=r"DATABASE_URL=.*\*\*\*") as refused:
        load_settings(DATABASE_URL=url)

    assert "hunter2" not in str(refused.value)


def test_settings_without_a_folder_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_SERVER_DIR")

    assert type(load_folderless_settings()) is FolderlessSettings
    assert Config.MQTT_PORT == 1883


def test_config_reads_once_and_is_the_same_object_at_both_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Config.MQTT_PORT == 1883
    monkeypatch.setenv("MQTT_PORT", "1884")

    assert Config.MQTT_PORT == 1883
    forget_settings()
    assert Config.MQTT_PORT == 1884
    assert cl_server_shared.Config is Config


def value_of(name: str) -> object:
    return cast("object", getattr(Config, name))  # getattr gives Any


@pytest.mark.parametrize(
    "target", ["cl_server_shared.config.Config", "cl_server_shared.Config", f"{__name__}.Config"]
)
@pytest.mark.parametrize(("name", "value"), [("MQTT_PORT", 1), ("CL_SERVER_DIR", "/tmp")])
def test_config_can_be_patched_and_is_restored(target: str, name: str, value: object) -> None:
    before = value_of(name)
    with mock.patch(f"{target}.{name}", value):
        assert value_of(name) == value

    assert value_of(name) == before
    assert vars(Config) == {}


def test_a_name_that_is_no_setting_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="there is no setting 'MQTT_PROT'"):
        getattr(Config, "MQTT_PROT")  # noqa: B009  # the checker refuses the attribute

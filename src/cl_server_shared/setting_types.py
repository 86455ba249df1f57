"""What the values of settings are: how they are read, refused and shown."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
)
from pydantic_settings import NoDecode

from cl_server_shared.process.masked_url import MaskedUrl, masked_url


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part for part in (piece.strip() for piece in value.split(",")) if part]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _path_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, Path) else value


def _writable_folder(value: str) -> str:
    if not os.path.isdir(value):  # noqa: PTH112  # Path.is_dir raises where it may not look
        raise ValueError("must be an existing folder: create it or correct the path")
    if not os.access(value, os.W_OK | os.X_OK):
        raise ValueError("must be writable by this user: change its owner or permissions")
    return value


def _publishable(topic: str) -> str:
    """MQTT 5.0, section 4.7.1: wildcards are for readers, NUL is for nobody."""
    if not topic or any(character in topic for character in "+#\0"):
        raise ValueError("must be a topic to publish to: not empty, without +, # and NUL")
    return topic


def _with_username(password: SecretStr, info: ValidationInfo) -> SecretStr:
    if info.data.get("MQTT_USERNAME", "") is None:  # absent if it was refused itself
        raise ValueError("needs MQTT_USERNAME: set it, or unset the password")
    return password


def _readable_with_tls(path: str, info: ValidationInfo) -> str:
    if info.data.get("MQTT_TLS") is False:
        raise ValueError("needs MQTT_TLS=true: set it, or unset the file")
    if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113  # as for folders
        raise ValueError("must be an existing file that this user may read")
    return path


PathText = Annotated[str, BeforeValidator(_path_text)]
WritableFolder = Annotated[PathText, AfterValidator(_writable_folder)]
CaFile = Annotated[PathText, AfterValidator(_readable_with_tls)]
MqttPassword = Annotated[SecretStr, AfterValidator(_with_username)]
Topic = Annotated[str, AfterValidator(_publishable)]
DatabaseUrl = Annotated[str, AfterValidator(MaskedUrl), PlainSerializer(masked_url)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Words = Annotated[list[str], NoDecode, BeforeValidator(_split)]
LOWER: Final = BeforeValidator(_lower)
UPPER: Final = BeforeValidator(_upper)

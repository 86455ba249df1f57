"""The address of the MQTT broker, the login, and the encryption."""

import os
import ssl
from dataclasses import dataclass, field
from typing import Final, final, override

from pydantic import SecretStr

from cl_server_shared.errors import ConfigError
from cl_server_shared.models.validation import require_range
from cl_server_shared.mqtt.topics import text_fault

_MAX_PORT: Final = 65_535
_MAX_PASSWORD_BYTES: Final = 65_535
_MAX_KEEPALIVE_SECONDS: Final = 65_535


@final
@dataclass(frozen=True, slots=True)
class Security:
    """A login, and whether the connection is encrypted.

    Args:
        username: whom the broker shall know (MQTT 5.0, section 3.1.3.5).
        password: at most 65,535 bytes in UTF-8; it never shows. Without *tls* it crosses the
            network as it is.
        tls: encrypt with TLS 1.2 or newer, and verify the broker's certificate and host name.
        ca_file: PEM file of the authorities to trust instead of the system's.

    Raises:
        ConfigError: one that needs another is alone, or cannot be used.
    """

    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    ca_file: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        _check_login(self.username, self.password)
        if self.ca_file is not None:
            _check_ca_file(self.ca_file, tls=self.tls)

    def tls_context(self) -> ssl.SSLContext:
        """Return what a TLS connection is made with; it reads files.

        Raises:
            OSError: the CA file is gone (also ssl.SSLError: it holds no certificates any more).
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        # TLS 1.2 only: without it a read never waits for a write, nor a write for a read.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.sslsocket_class = _ClosingSocket
        return context


@final
class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho drops it open then."""

    @override
    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


@final
@dataclass(frozen=True, slots=True)
class Broker:
    """The broker's address, and after how many seconds of silence it counts as away.

    Raises:
        ConfigError: the host is empty, the port or the keep-alive outside 1-65535.
    """

    host: str
    port: int
    keepalive_seconds: int = 15
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("the MQTT broker's host is empty: give its name or address")
        require_range("MQTT port", self.port, 1, _MAX_PORT)
        require_range("keepalive_seconds", self.keepalive_seconds, 1, _MAX_KEEPALIVE_SECONDS)

    @override
    def __str__(self) -> str:
        return f"MQTT broker {self.host}:{self.port}"


def _check_login(username: str | None, password: SecretStr | None) -> None:
    if username is not None and (fault := text_fault(username)) is not None:
        raise ConfigError(f"the MQTT username {username!r} cannot be sent: it {fault}")
    if password is None:
        return
    if username is None:
        raise ConfigError("an MQTT password without a username: give both (MQTT_USERNAME)")
    secret = password.get_secret_value()
    try:
        length = len(secret.encode())
    except UnicodeEncodeError:
        # Not chained: the original holds the password.
        raise ConfigError(
            "the MQTT password holds a lone surrogate: UTF-8 cannot write it"
        ) from None
    if length > _MAX_PASSWORD_BYTES:
        raise ConfigError(
            f"the MQTT password is {length:,} bytes in UTF-8: at most {_MAX_PASSWORD_BYTES:,} fit"
        )


def _check_ca_file(ca_file: str | os.PathLike[str], *, tls: bool) -> None:
    if not tls:
        raise ConfigError(
            f"the CA file {str(ca_file)!r} is for TLS, which is off: switch it on (MQTT_TLS=true) "
            "or take the file away (MQTT_CA_FILE)"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError as error:  # an ssl.SSLError is one
        raise ConfigError(
            f"the CA file {str(ca_file)!r} cannot be used ({error}): "
            "it must be a readable PEM file of certificates"
        ) from error

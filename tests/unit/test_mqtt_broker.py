"""What is said of a broker before it is asked: nothing wrong gets as far as the network."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from cl_server_shared.errors import ConfigError
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.mqtt.broker import Broker, Security


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A file that holds no certificate."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    return file


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        (None, "hunter2", "without a username"),
        ("", None, "is empty"),
        ("a\0b", None, "NUL"),
        ("\ud800", None, "surrogate"),
        ("ada", "hunter2\ud800", "surrogate"),
        ("ada", "hunter2" * 10_000, "70,000 bytes"),
    ],
)
def test_a_login_that_cannot_be_sent_is_refused(
    username: str | None, password: str | None, reason: str
) -> None:
    secret = None if password is None else SecretStr(password)
    with pytest.raises(ConfigError, match=reason) as refused:
        Security(username=username, password=secret)

    assert "hunter2" not in f"{refused.value} {refused.value.__cause__}"


def test_a_ca_file_without_tls_is_refused(text_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"switch it on \(MQTT_TLS=true\)"):
        Security(ca_file=text_file)


@pytest.mark.parametrize("name", ["missing.pem", "ca.pem", "."])
def test_a_ca_file_without_certificates_is_refused(text_file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="must be a readable PEM file"):
        Security(tls=True, ca_file=text_file.parent / name)


@pytest.mark.parametrize(
    ("host", "port", "keepalive_seconds"),
    [("", 1883, 15), ("here", 0, 15), ("here", 65_536, 15), ("here", 1883, 0)],
)
def test_an_address_that_cannot_be_is_refused(host: str, port: int, keepalive_seconds: int) -> None:
    with pytest.raises(ConfigError):
        Broker(host, port, keepalive_seconds)
    with pytest.raises(ConfigError):
        MqttBroadcaster(host, port, "jobs", keepalive_seconds=keepalive_seconds)


def test_a_password_shows_nowhere() -> None:
    broker = Broker("here", 1883, security=Security(username="ada", password=SecretStr("hunter2")))

    assert "hunter2" not in f"{broker!r} {broker} {broker.security!r} {broker.security}"

"""Configuration files of the brokers that the suite starts: mosquitto's and iotcore's."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import trustme

USERNAME: Final = "ada"
PASSWORD: Final = "ada's secret, 17 €"  # of a broker that lives for a test
HOST_IN_CERTIFICATE: Final = "localhost"
CA_FILE: Final = "ca.pem"
OTHER_CA_FILE: Final = "other-ca.pem"

_IOTCORE: Final = """
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
"""
_IOTCORE_LISTENER: Final = """
[{protocol}.{number}]
name = "{protocol}-{number}"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[{protocol}.{number}.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""
_IOTCORE_TLS: Final = """
[{protocol}.{number}.tls]
certpath = "server.pem"
keypath = "server-key.pem"
"""
_IOTCORE_LOGIN: Final = f"""
[{{protocol}}.{{number}}.connections.auth]
{USERNAME} = "{PASSWORD}"
"""

_MOSQUITTO: Final = """
user root
log_dest none
per_listener_settings true
max_inflight_messages 0
max_queued_messages 0
"""
_MOSQUITTO_KEEPS: Final = """
persistence {keeps}
autosave_on_changes true
autosave_interval 1
"""
_MOSQUITTO_LISTENER: Final = """
listener {port} 127.0.0.1
allow_anonymous {allow_anonymous}
"""
_MOSQUITTO_TLS: Final = """
certfile server.pem
keyfile server-key.pem
"""
_MOSQUITTO_LOGIN: Final = """
password_file passwords
"""


class Listener(NamedTuple):
    """A port of a broker, and what a client needs there."""

    port: int
    protocol: str = "v5"  # or v4, as iotcore calls MQTT 3.1.1; mosquitto speaks all on any port
    has_tls: bool = False
    has_login: bool = False


def write_iotcore(file: Path, listeners: Sequence[Listener]) -> None:
    """Write the configuration of an iotcore with these listeners."""
    text = _IOTCORE
    for number, each in enumerate(listeners):
        section = _IOTCORE_LISTENER + _IOTCORE_TLS * each.has_tls + _IOTCORE_LOGIN * each.has_login
        text += section.format(protocol=each.protocol, number=number, port=each.port)
    file.write_text(text)


def write_mosquitto(file: Path, listeners: Sequence[Listener], *, is_lasting: bool) -> None:
    """Write the configuration of a mosquitto with these listeners.

    One that is lasting writes sessions and what waits for them to the disk, at every change.
    """
    text = _MOSQUITTO + _MOSQUITTO_KEEPS.format(keeps="true" if is_lasting else "false")
    for each in listeners:
        section = (
            _MOSQUITTO_LISTENER + _MOSQUITTO_TLS * each.has_tls + _MOSQUITTO_LOGIN * each.has_login
        )
        anonymous = "false" if each.has_login else "true"
        text += section.format(port=each.port, allow_anonymous=anonymous)
    file.write_text(text)
    if any(each.has_login for each in listeners):
        command = ["mosquitto_passwd", "-c", "-b", "passwords", USERNAME, PASSWORD]
        subprocess.run(command, cwd=file.parent, check=True)


def write_certificates(folder: Path) -> None:
    """Write a server's certificate and key, the authority that signed it, and one that did not."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST_IN_CERTIFICATE)
    issued.private_key_pem.write_to_path(folder / "server-key.pem")
    for part in issued.cert_chain_pems:
        part.write_to_path(folder / "server.pem", append=True)
    authority.cert_pem.write_to_path(folder / CA_FILE)
    trustme.CA().cert_pem.write_to_path(folder / OTHER_CA_FILE)

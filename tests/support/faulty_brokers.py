"""Addresses where no broker does its work, each in another way; no traffic leaves the machine."""

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from tests.support.scripted_broker import ScriptedBroker
from tests.support.servers import Address, broker_process, free_address


@contextmanager
def refused() -> Generator[Address]:
    """Nobody listens."""
    yield free_address()


@contextmanager
def silent() -> Generator[Address]:
    """A host accepts the connection and never says a word."""
    with ScriptedBroker() as peer:
        yield peer.address


@contextmanager
def dropped() -> Generator[Address]:
    """The queue of a listener that never accepts is full: the kernel drops further SYNs."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = Address(*server.getsockname())
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex(address)
        yield address
        for each in waiting:
            each.close()


@contextmanager
def frozen() -> Generator[Address]:
    """A broker's process is stopped: its kernel goes on accepting for it."""
    with broker_process() as broker:
        broker.stop()
        yield broker.address


type Fault = Callable[[], AbstractContextManager[Address]]


FAULTS: Final[Sequence[Fault]] = (refused, silent, dropped, frozen)

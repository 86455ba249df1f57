"""The socket that gathers, on real connections."""

import socket
from collections.abc import Iterator

import pytest

from cl_server_shared.mqtt.gathering_socket import GatheringSocket
from tests.support.servers import free_address
from tests.support.waiting import wait_until

type Pair = tuple[GatheringSocket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    address = free_address()
    with socket.create_server(address) as server:
        near = socket.create_connection(address)
        far = server.accept()[0]
        near.settimeout(0)
        far.settimeout(5)
        with near, far:
            yield GatheringSocket(near), far


def test_what_was_sent_leaves_with_the_flush_in_one_piece(pair: Pair) -> None:
    near, far = pair

    assert near.send(b"one ") == 4
    near.send(bytearray(b"two"))
    assert near.has_unsent
    near.flush()

    assert not near.has_unsent
    assert far.recv(100) == b"one two"


def test_what_does_not_fit_leaves_later(pair: Pair) -> None:
    near, far = pair
    far.settimeout(None)
    much = bytes(50_000_000)
    near.send(much)
    near.flush()
    assert near.has_unsent

    got = 0
    while got < len(much):
        got += len(far.recv(1_000_000))
        near.flush()

    assert got == len(much)
    assert not near.has_unsent


def test_parts_are_read_from_what_came_in_one_piece(pair: Pair) -> None:
    near, far = pair
    far.sendall(b"abcdef")
    wait_until(lambda: readable(near))

    assert near.recv(1) == b"a"
    assert near.pending() == 5
    assert (near.recv(3), near.recv(100), near.pending()) == (b"bcd", b"ef", 0)
    with pytest.raises(BlockingIOError):
        near.recv(1)


def readable(near: GatheringSocket) -> bool:
    try:
        near.recv(0)
    except BlockingIOError:
        return False
    return True


def test_the_end_is_read_as_no_bytes(pair: Pair) -> None:
    near, far = pair
    far.close()
    wait_until(lambda: readable(near))

    assert near.recv(1) == b""


def test_a_failure_is_raised_after_what_had_arrived(pair: Pair) -> None:
    near, far = pair
    far.sendall(b"last words")
    wait_until(lambda: readable(near))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset when closed
    far.close()
    near.send(b"in vain")
    near.flush()

    assert near.recv(100) == b"last words"
    with pytest.raises(OSError, match=r"reset|pipe"):
        near.recv(1)
    with pytest.raises(OSError, match=r"reset|pipe"):
        near.send(b"more")
    assert not near.has_unsent


def test_closing_says_what_was_not_yet_sent(pair: Pair) -> None:
    near, far = pair
    near.send(b"farewell")
    near.close()
    near.close()

    assert far.recv(100) == b"farewell"


def test_abandoning_says_nothing(pair: Pair) -> None:
    near, far = pair
    near.send(b"a secret of the parent's")
    near.abandon()

    assert far.recv(100) == b""

"""What the broker suite reads off the wire."""

from itertools import batched

import pytest

from tests.faults.acknowledgements import Acknowledgements

# PUBLISH of QoS 1 (MQTT 5.0, section 3.3): topic "t", packet id, no properties, payload.
FIRST = b"\x32\x09\x00\x01t\x00\x01\x00one"
SECOND = b"\x3a\x09\x00\x01t\x00\x02\x00two"  # a repetition
UNCONFIRMED = b"\x30\x05\x00\x01t\x00x"
PING = b"\xc0\x00"
LONG = b"\x32" + b"\xcd\x01" + b"\x00\x01t\x00\x03" + b"\x00" + bytes(199)
CONNACK = b"\x20\x03\x00\x00\x00"


def acknowledged(sent: bytes, answered: bytes, size: int) -> list[bytes]:
    seen = Acknowledgements()
    for piece in batched(sent, size):
        seen.client_sent(bytes(piece))
    return [
        payload for piece in batched(answered, size) for payload in seen.broker_sent(bytes(piece))
    ]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_was_acknowledged_is_found_in_pieces_of_any_size(size: int) -> None:
    sent = FIRST + PING + UNCONFIRMED + SECOND + LONG
    answered = CONNACK + b"\x40\x02\x00\x02" + b"\x40\x03\x00\x03\x10"  # short and long form

    assert acknowledged(sent, answered, size) == [b"two", bytes(199)]


def test_what_was_refused_is_not_acknowledged() -> None:
    assert acknowledged(FIRST, b"\x40\x03\x00\x01\x87", 1000) == []


def test_what_has_not_wholly_come_is_not_acknowledged() -> None:
    assert acknowledged(FIRST, b"\x40\x02\x00", 1000) == []

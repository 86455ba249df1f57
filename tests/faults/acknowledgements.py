"""What a broker has acknowledged, read off the wire between it and a publisher.

Nobody else can tell a message that a broker took and lost from one that it never got.
"""

from collections.abc import Iterator
from typing import Final, final

_PUBLISH: Final = 0x30  # the packets' types, MQTT 5.0, section 2.1.2
_PUBACK: Final = 0x40
_TYPE: Final = 0xF0
_QOS_1: Final = 0x02  # in the flags of PUBLISH, section 3.3.1.2
_FAILURES: Final = 0x80  # reason codes from here, section 2.4


@final
class Acknowledgements:
    """Follows both directions of one MQTT 5 connection, in pieces of any size."""

    def __init__(self) -> None:
        self._from_client = bytearray()
        self._from_broker = bytearray()
        self._waiting: dict[bytes, bytes] = {}

    def client_sent(self, data: bytes) -> None:
        """Take in bytes on their way to the broker."""
        self._from_client += data
        for kind, body in _packets(self._from_client):
            if kind & _TYPE == _PUBLISH and kind & _QOS_1:
                packet_id, payload = _published(body)
                self._waiting[packet_id] = payload

    def broker_sent(self, data: bytes) -> list[bytes]:
        """Take in bytes from the broker; return the payloads that they acknowledge."""
        self._from_broker += data
        return [
            self._waiting.pop(body[:2])
            for kind, body in _packets(self._from_broker)
            if kind & _TYPE == _PUBACK and not body[2:3] >= bytes([_FAILURES])
        ]


def _packets(received: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole packets off *received*: the first byte, and all after the length."""
    while received:
        length = _variable_integer(received, 1)
        if length is None or len(received) < sum(length):
            return
        start, end = length[0], sum(length)
        kind, body = received[0], bytes(received[start:end])
        del received[:end]
        yield kind, body


def _variable_integer(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Read a Variable Byte Integer (section 1.5.5): where it ends, and its value."""
    value = 0
    for place in range(4):
        if at + place >= len(data):
            return None
        value |= (data[at + place] & 0x7F) << (7 * place)
        if data[at + place] < 0x80:
            return at + place + 1, value
    raise ValueError(f"{bytes(data[at : at + 4])!r} is no Variable Byte Integer")


def _published(body: bytes) -> tuple[bytes, bytes]:
    """Return packet id and payload of a PUBLISH (section 3.3.2)."""
    at = 2 + int.from_bytes(body[:2])
    properties = _variable_integer(body, at + 2)
    if properties is None:
        raise ValueError(f"{body!r} is no PUBLISH of MQTT 5")
    return body[at : at + 2], body[sum(properties) :]

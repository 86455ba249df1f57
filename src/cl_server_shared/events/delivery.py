"""What came in: one message of the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the broker sent it; what its payload means is the reader's affair.

    *is_retained*: the broker had kept it, and sent it because of a new subscription (MQTT 5.0,
    section 3.3.1.3). *properties* are the user properties; of two of one name the last counts.
    """

    topic: str
    payload: bytes
    is_retained: bool = False
    properties: Mapping[str, str] = field(default_factory=dict[str, str])

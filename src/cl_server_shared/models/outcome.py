"""What becomes of a change that somebody asks for."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Applied:
    """The job was changed as asked for."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The job already is as asked for."""


class Refusal(StrEnum):
    """Why a job may not be changed."""

    final = "final"
    lost = "lost"
    cancelled = "cancelled"
    behind = "behind"
    running = "running"
    not_running = "not running"


@dataclass(frozen=True, slots=True)
class Refused:
    """The job may not be changed like that; *reason* is a sentence for people."""

    refusal: Refusal
    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Progress that came too soon after the last; its latest value is stored within a second."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no job of that id."""


type Outcome = Applied | Unchanged | Refused | Deferred | NotFound

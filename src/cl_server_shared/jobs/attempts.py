"""The log of the attempts at a job that failed, kept on the job."""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from cl_server_shared.models import Attempt


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The failed attempts, oldest first; the latest `KEPT` of them.

    Kept as the JSON text that is stored: it is read by people, and only rarely by us.
    """

    KEPT: ClassVar[int] = 100

    text: str | None = None

    def entries(self) -> tuple[Attempt, ...]:
        """Return the attempts; none where the stored text is not ours."""
        if self.text is None:
            return ()
        try:
            return tuple(_ENTRIES.validate_json(self.text))
        except ValidationError:
            return ()

    def with_one_more(self, attempt: Attempt) -> Self:
        """Return the log with *attempt* at its end."""
        kept = (*self.entries(), attempt)[-self.KEPT :]
        return type(self)(json.dumps([asdict(entry) for entry in kept], separators=(",", ":")))


_ENTRIES = TypeAdapter(list[Attempt])

"""What a process noted before it was killed: a line before and after each call."""

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Self, final


class Step(StrEnum):
    """Before a call in the imperative, after it in the past tense."""

    ready = "ready"
    add = "add"
    added = "added"
    claim = "claim"
    claimed = "claimed"
    found_nothing = "found nothing"
    progress = "progress"
    progressed = "progressed"
    complete = "complete"
    completed = "completed"
    failed = "failed"


class Entry(NamedTuple):
    """One line; *at_ns* is the monotonic clock, which all processes of a machine share."""

    at_ns: int
    step: Step
    job_id: str = ""
    note: str = ""

    @classmethod
    def parsed(cls, line: str) -> Self:
        at_ns, step, job_id, note = line.split("\t")
        return cls(int(at_ns), Step(step), job_id, note)


@final
class Journal:
    """A file of a process's own; what a call has noted, the kernel keeps through any kill."""

    def __init__(self, path: Path) -> None:
        self._file: Final = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, step: Step, job_id: str = "", note: object = "") -> None:
        """Append a line; *note* must not hold a tab."""
        text = str(note).replace("\n", "\\n")
        os.write(self._file, f"{time.monotonic_ns()}\t{step}\t{job_id}\t{text}\n".encode())


def entries(path: Path) -> list[Entry]:
    """Read a journal; a last line without its end was never noted."""
    if not path.exists():
        return []
    whole_lines = path.read_text().split("\n")[:-1]
    return [Entry.parsed(line) for line in whole_lines]

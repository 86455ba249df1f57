"""How `resize_images.py` shows jobs in a terminal: bars while they run, a table at the end."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self, final

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from cl_server_shared import JobEvent, JobStatus

_FEW_JOBS: Final = 20
_STYLES: Final = {JobStatus.completed: "green", JobStatus.error: "red"}


@final
class JobBars:
    """A bar for all jobs and one for each; of many jobs, only those that run are shown.

    They show while the `with` block runs. One thread moves them; any thread may call `receive`.

    Args:
        console: where they are drawn.
        jobs: how many there will be.
    """

    def __init__(self, console: Console, jobs: int) -> None:
        # A file may be called "[red].png": no markup.
        name, status = (TextColumn(f"{{task.{what}}}", markup=False) for what in _COLUMNS)
        self._progress: Final = Progress(
            name, BarColumn(), TaskProgressColumn(), status, console=console, transient=True
        )
        self._overall: Final = self._progress.add_task("all", total=jobs, status="")
        self._are_few: Final = jobs <= _FEW_JOBS
        self._bars: Final[dict[str, TaskID]] = {}
        self._seen: Final[dict[str, int]] = {}
        self._received: Final[SimpleQueue[JobEvent]] = SimpleQueue()
        self.events: int = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def add(self, job_id: str, name: str) -> None:
        """Make the bar of a job that waits."""
        self._seen[job_id] = 0
        self._bars[job_id] = self._progress.add_task(name, status="", visible=self._are_few)

    def unfinished(self, most: int) -> list[str]:
        """Return the ids of at most so many jobs that are not final, the oldest first."""
        return list(islice(self._bars, most))

    def receive(self, event: JobEvent) -> None:
        """Take an event from a broadcaster's thread."""
        self._received.put(event)

    def follow(self, for_seconds: float) -> None:
        """Move the bars as events say, for so long or until every job is final."""
        end = time.monotonic() + for_seconds
        while self._bars:
            remaining = end - time.monotonic()
            try:
                self._take(self._received.get(timeout=max(remaining, 0)))
            except Empty:
                return
            if remaining <= 0:
                return

    def _take(self, event: JobEvent) -> None:
        """Obey an event of our jobs, unless a later one came first: events may come twice."""
        if event.seq > self._seen.get(event.job_id, event.seq):
            self._seen[event.job_id] = event.seq
            self.events += 1
            self.show(event.job_id, event.event_type, event.progress)

    def show(self, job_id: str, status: JobStatus, progress: int) -> None:
        """Move a job's bar, 0-100; a final status closes it."""
        bar = self._bars.get(job_id)
        if bar is None:
            return
        is_visible = self._are_few or status is JobStatus.processing
        self._progress.update(bar, completed=progress, status=status.value, visible=is_visible)
        if status in _STYLES:
            del self._bars[job_id]
            self._progress.advance(self._overall)


_COLUMNS: Final = ("description", "fields[status]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a file; `remark` is its result's SHA-256 or what went wrong."""

    name: str
    status: JobStatus
    remark: str
    size_bytes: int | None = None
    result_bytes: int | None = None
    duration_ms: int | None = None


def table_of(rows: Iterable[Row]) -> Table:
    """Return the table of what became of each file."""
    table = Table(box=box.SIMPLE)
    table.add_column("file", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("SHA-256 or error", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.name),
            Text(row.status, style=_STYLES.get(row.status, "")),
            _size(row.size_bytes),
            _size(row.result_bytes),
            Text(row.remark),
            "" if row.duration_ms is None else f"{row.duration_ms / 1000:.2f} s",
        )
    return table


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else decimal(size_bytes)

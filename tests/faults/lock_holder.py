"""A process that holds SQLite's write lock, and a worker that has something to write meanwhile."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from cl_server_shared.events.memory import MemoryBroadcaster
from tests.faults.process_environment import ProcessEnvironment
from tests.support.repositories import at, completed, job
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Waited:
    """What a worker's calls returned, how long each waited, and what was told of the jobs."""

    returned: dict[str, object]
    seconds: dict[str, float]
    events: list[tuple[str, str]]


def hold_lock(environment: ProcessEnvironment, seconds: float, held: Path) -> None:
    """Take the write lock, say so with a file, and let it go after a while."""
    connection = sqlite3.connect(str(make_url(environment.url).database), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.touch()
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()


def write_meanwhile(environment: ProcessEnvironment, ready: Path, held: Path) -> Waited:
    """Claim jobs, wait for somebody to take the lock, then complete, report and add at once."""
    broadcaster = MemoryBroadcaster()
    repository = environment.repository(broadcaster=broadcaster)
    for job_id in ("done", "half done"):
        repository.add_job(job(job_id))
        repository.fetch_next_job(["resize"])
    ready.touch()
    wait_until(held.exists)
    calls = {
        "complete": lambda: repository.update_job("done", completed({"whole": True})),
        "report": lambda: repository.update_job("half done", at(50)),
        "add": lambda: repository.add_job(job("new")),
    }
    returned: dict[str, object] = {}
    seconds: dict[str, float] = {}

    def call(name: str) -> None:
        began_at = time.monotonic()
        returned[name] = calls[name]()
        seconds[name] = time.monotonic() - began_at

    with ThreadPoolExecutor(len(calls)) as threads:
        list(threads.map(call, calls))
    events = [(event.job_id, event.event_type.value) for event in broadcaster.published[4:]]
    return Waited(returned, seconds, events)

"""What it costs to import the library and to build repositories."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from cl_server_shared import Container
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.benchmarks.databases import broker, sqlite_databases
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.ours import container_on
from tests.benchmarks.sizes import Sizes

_IMPORT: Final = """
import time
began = time.perf_counter()
import sqlmodel
on_top = time.perf_counter()
{statement}
print({measured})
"""


def _repositories(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    address = broker(stack)
    container = container_on(
        sqlite_databases(stack)(),
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=address.host,
        MQTT_PORT=address.port,
    )
    stack.callback(container.closing().close)
    number = sizes.repositories
    return [
        Contestant(
            name="sessions",
            how="as many sessions of the same factory",
            play=partial(_build, container.session_factory(), number),
        ),
        Contestant(
            name="repositories",
            how="BROADCAST_TYPE=mqtt",
            play=partial(_build, partial(_repository, container), number),
        ),
    ]


def _repository(container: Container) -> SqlJobRepository:
    return SqlJobRepository(container.session_factory(), container.repository_parts())


def _build(make: Callable[[], object], number: int) -> Measured:
    threads, files = threading.active_count(), _open_files()
    began = time.perf_counter()
    built = [make() for _ in range(number)]
    took = time.perf_counter() - began
    return {
        "us each": took / len(built) * 1e6,
        "threads": threading.active_count() - threads,
        "open files": _open_files() - files,
    }


def _open_files() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


def _imports(_sizes: Sizes, _stack: ExitStack) -> Sequence[Entrant]:
    on_top = "time.perf_counter() - on_top"
    first = "from cl_server_shared import JobRepositoryService"
    return [
        _import("import sqlmodel", "in a new process", "pass", "on_top - began"),
        _import("import cl_server_shared", "after sqlmodel", "import cl_server_shared", on_top),
        _import("JobRepositoryService", f"after sqlmodel: {first}", first, on_top),
    ]


def _import(name: str, how: str, statement: str, measured: str) -> Contestant:
    program = _IMPORT.format(statement=statement, measured=measured)
    return Contestant(name=name, how=how, play=partial(_run, program))


def _run(program: str) -> Measured:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return {"ms": float(done.stdout) * 1e3}


CASES: Final = (
    Case(name="repositories", title="Repositories built, as for each request", enter=_repositories),
    Case(name="imports", title="Imports, in a process of their own", enter=_imports),
)

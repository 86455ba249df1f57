"""Results as JSON: the machine, the versions, and every round."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.benchmarks.measuring import Result
from tests.benchmarks.sizes import Sizes

_DISTRIBUTIONS: Final = (
    "cl-server-shared",
    "SQLAlchemy",
    "sqlmodel",
    "pydantic",
    "psycopg",
    "paho-mqtt",
    "litequeue",
    "huey",
    "persist-queue",
    "procrastinate",
    "pgqueuer",
    "asyncpg",
    "oban",
    "dbos",
)


def machine() -> dict[str, str]:
    """Describe where the benchmark runs."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.2f}",
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Tell the version of everything that takes part."""
    installed = {each: _version(each) for each in _DISTRIBUTIONS}
    return {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **installed}


def report(sizes: Sizes, results: Sequence[Result]) -> dict[str, object]:
    """Put everything that was measured into one JSON object."""
    return {
        "machine": machine(),
        "versions": versions(),
        "sizes": asdict(sizes),
        "cases": {result.case.name: _case(result) for result in results},
    }


def _case(result: Result) -> dict[str, object]:
    return {
        "title": result.case.title,
        "compared_with": result.contestants[0].name,
        "contestants": {each.name: each.how for each in result.contestants},
        "missing": {each.name: each.reason for each in result.missing},
        "rounds": {name: [dict(each) for each in played] for name, played in result.rounds.items()},
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

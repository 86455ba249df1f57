"""Which tests run without being asked for: the fast ones, that need no server and no quiet machine.

Every test is marked `full`, and `fast` unless something about it is slow: it uses a server's
fixture, is marked `slow`, or lies under `faults`. Without `-m`, `pytest` takes `-m fast`;
`pytest -m full` takes all. Files and tests that are named on the command line run whole.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ON_POSTGRESQL: Final = pytest.param("postgresql", marks=pytest.mark.slow)
"""A parameter of fixtures that ask for the server where it is given."""
_SERVERS: Final = frozenset({"mqtt_broker", "own_broker", "secured_broker", "postgres_url"})
_SLOW_FOLDER: Final = "faults"
_HIDDEN: Final = pytest.StashKey[int]()


def takes_fast_alone(config: pytest.Config) -> bool:
    """Tell whether the command line leaves the choice to us: it names no marker, file or test."""
    return not config.getoption("markexpr") and all(map(_is_folder, config.args))


def choose_fast(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Take the fast ones of the *items*, and remember how many that leaves out."""
    config.option.markexpr = "fast"
    config.stash[_HIDDEN] = sum(not is_fast(item) for item in items)


def mark(items: Sequence[pytest.Item]) -> None:
    """Mark each item as what it is."""
    for item in items:
        item.add_marker("full")
        if is_fast(item):
            item.add_marker("fast")


def is_fast(item: pytest.Item) -> bool:
    """Tell whether a test needs no server, few processes and no quiet machine."""
    asked = frozenset(item.fixturenames) if isinstance(item, pytest.Function) else frozenset[str]()
    return not (
        asked & _SERVERS
        or item.get_closest_marker("slow") is not None
        or _SLOW_FOLDER in item.path.relative_to(item.config.rootpath).parts
    )


def told(config: pytest.Config) -> str | None:
    """Return the line that tells what was left out; None: nothing was."""
    hidden = config.stash.get(_HIDDEN, 0)
    return f"{hidden:,} tests more with -m full" if hidden else None


def _is_folder(argument: str) -> bool:
    return Path(argument).is_dir()

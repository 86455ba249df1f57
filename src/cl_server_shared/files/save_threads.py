"""How many threads the saves of a storage take at once.

Each storage has threads of its own for saving: a disk that hangs holds up neither another storage
nor what else runs in anyio's own threads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

# More threads wait for Python's lock longer than for the disk.
_SMALL_AT_ONCE: Final = 2
# They wait for sources and disks, and keep a few MiB in memory each.
_OTHERS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SaveThreads:
    """The limits of one storage on one event loop: small files do not wait for others."""

    small: CapacityLimiter
    others: CapacityLimiter


_KNOWN: Final = RunVar[WeakValueDictionary[Path, SaveThreads]]("save threads")


def save_threads(jobs: Path) -> SaveThreads:
    """Return the limits that all saves below *jobs* share on the running event loop."""
    known = _known()
    threads = known.get(jobs)
    if threads is None:
        threads = SaveThreads(CapacityLimiter(_SMALL_AT_ONCE), CapacityLimiter(_OTHERS_AT_ONCE))
        known[jobs] = threads
    return threads


def _known() -> WeakValueDictionary[Path, SaveThreads]:
    """Return the limits of this event loop; those that no save uses are forgotten."""
    try:
        return _KNOWN.get()
    except LookupError:
        known = WeakValueDictionary[Path, SaveThreads]()
        _KNOWN.set(known)
        return known

"""How much is measured."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Args:
        rounds: how often each contestant plays, beside the first time, which is not counted.
        jobs: jobs in a round, of one process.
        drained: jobs in a round of several processes.
        drainers: processes that drain a SQLite database.
        threads: threads that share a repository.
        crowd: processes that share a PostgreSQL.
        finished: rows of finished jobs in the large table; a tenth as many wait for others, and a
            hundredth are delayed.
        large_file: bytes of the file that is saved from a path.
        body: bytes of the contents that are saved from memory and from a stream.
        small_files: files of 1 KB in a round.
        events: events in a round.
        repositories: repositories built in a round.
        wake_ups: jobs in a round for which somebody waits.
        with_peers: whether other libraries take part.
    """

    rounds: int
    jobs: int
    drained: int
    drainers: int
    threads: int
    crowd: int
    finished: int
    large_file: int
    body: int
    small_files: int
    events: int
    repositories: int
    wake_ups: int
    with_peers: bool = True


_MB: Final = 1 << 20

FULL: Final = Sizes(
    rounds=7,
    jobs=1_000,
    drained=8_000,
    drainers=8,
    threads=32,
    crowd=4,
    finished=10_000_000,
    large_file=1024 * _MB,
    body=64 * _MB,
    small_files=1_000,
    events=1_000,
    repositories=1_000,
    wake_ups=100,
)
QUICK: Final = Sizes(
    rounds=5,
    jobs=60,
    drained=400,
    drainers=4,
    threads=8,
    crowd=2,
    finished=100_000,
    large_file=32 * _MB,
    body=8 * _MB,
    small_files=50,
    events=50,
    repositories=200,
    wake_ups=20,
    with_peers=False,
)
TINY: Final = Sizes(
    rounds=1,
    jobs=10,
    drained=20,
    drainers=2,
    threads=2,
    crowd=2,
    finished=200,
    large_file=_MB,
    body=_MB,
    small_files=5,
    events=5,
    repositories=5,
    wake_ups=3,
    with_peers=False,
)
"""Only to see that every case still runs."""

"""Several processes drain a database; what each of them saw."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.benchmarks.measuring import Measured
from tests.benchmarks.processes import StartBarrier

_POLLS_BEFORE_END: Final = 20
_PAUSE_SECONDS: Final = 0.001


class Drainable[C](Protocol):
    """A queue that hands out one job after the other; `str` of a claim names its job."""

    def add(self, number: int) -> None:
        """Add jobs."""
        ...

    def claim(self) -> C | None:
        """Claim a job."""
        ...

    def complete(self, claimed: C, /) -> None:
        """Complete a claimed job."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@dataclass(slots=True)
class DrainRecord:
    """What one process saw; times of CLOCK_MONOTONIC in seconds, one clock for all processes."""

    claimed: list[str] = field(default_factory=list)
    claims: list[tuple[float, float]] = field(default_factory=list)
    empty_at: list[float] = field(default_factory=list)
    lock_errors: int = 0
    completed_at: float = 0


def drain[C](
    open_queue: Callable[[str], Drainable[C]], url: str, barrier: StartBarrier
) -> DrainRecord:
    """Claim and complete until nothing was found for a while."""
    queue, seen = open_queue(url), DrainRecord()
    barrier.wait()
    polls = 0
    while polls < _POLLS_BEFORE_END:
        polls = 0 if _take_one(queue, seen) else polls + 1
    queue.close()
    return seen


def _take_one[C](queue: Drainable[C], seen: DrainRecord) -> bool:
    began = time.monotonic()
    try:
        claimed = queue.claim()
        ended = time.monotonic()
        if claimed is None:
            seen.empty_at.append(ended)
            time.sleep(_PAUSE_SECONDS)
            return False
        seen.claims.append((began, ended))
        seen.claimed.append(str(claimed))
        queue.complete(claimed)
        seen.completed_at = time.monotonic()
    except Exception as error:
        if "locked" not in str(error):
            raise
        seen.lock_errors += 1
    return True


def judge(everybody: Sequence[DrainRecord], number: int) -> Measured:
    """Count what must not be, and tell how fast it went.

    All jobs waited from the beginning, so an empty answer was wrong if any claim began after it.
    """
    claims = [claim for seen in everybody for claim in seen.claims]
    took = sorted(ended - began for began, ended in claims)
    first, last = min(began for began, _ in claims), max(began for began, _ in claims)
    jobs = Counter(job for seen in everybody for job in seen.claimed)
    fair_share = number / len(everybody)
    return {
        "jobs/s": number / (max(seen.completed_at for seen in everybody) - first),
        "claim p50 ms": took[len(took) // 2] * 1e3,
        "claim p99 ms": took[len(took) * 99 // 100] * 1e3,
        "claim max ms": took[-1] * 1e3,
        "wrongly empty": sum(at < last for seen in everybody for at in seen.empty_at),
        "duplicates": sum(times > 1 for times in jobs.values()),
        "never claimed": number - len(jobs),
        "lock errors": sum(seen.lock_errors for seen in everybody),
        "least share": min(len(seen.claimed) for seen in everybody) / fair_share,
    }

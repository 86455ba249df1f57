"""What a repository works with, brought by the container."""

from collections.abc import Callable
from dataclasses import dataclass

from cl_server_shared.database import DatabaseOptions
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.process.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryParts:
    """What a repository works with.

    Args:
        outbox: tells the world of every change after it was committed.
        clock: tells the time.
        leases: keeps the claims alive.
        worker_id: who claims, for people to read; unique per process start.
        jitter: gives random numbers, 0 <= x < 1.
        policy: what is allowed.
        options: how the database is used; the first repository of an engine decides.
    """

    outbox: OutboxRelay
    clock: Clock
    leases: LeaseKeeper
    worker_id: str
    jitter: Callable[[], float]
    policy: JobPolicy
    options: DatabaseOptions

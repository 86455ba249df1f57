"""Workers of one process, and of none."""

import pytest

from cl_server_shared.errors import ConfigError
from cl_server_shared.presence.memory import MemoryPresence, MemoryWorkerRegistry
from cl_server_shared.presence.none import NonePresence, NoneWorkerRegistry
from cl_server_shared.presence.payload import new_status
from tests.support.repositories import NOON, ManualClock


def join(registry: MemoryWorkerRegistry, worker_id: str, started_ms: int = 1) -> MemoryPresence:
    status = new_status(worker_id, ["resize"], started_ms, worker_id)
    return MemoryPresence(registry, status, ManualClock())


def test_a_worker_is_there_from_its_start_to_its_end() -> None:
    registry = MemoryWorkerRegistry()
    with join(registry, "b") as worker, join(registry, "a"):
        assert registry.capabilities() == {"resize": 0}
        worker.set_idle(2)
        assert registry.capabilities() == {"resize": 2}
        assert [(each.worker_id, each.timestamp) for each in registry.workers()] == [
            ("a", 1),
            ("b", NOON),
        ]

    worker.set_idle(3)
    worker.close()
    assert (registry.workers(), registry.capabilities()) == ((), {})


def test_of_two_with_one_id_the_newer_counts_and_outlives_the_others_end() -> None:
    registry = MemoryWorkerRegistry()
    new, old = join(registry, "w", started_ms=2), join(registry, "w", started_ms=1)
    new.set_idle(2)
    old.set_idle(1)
    assert registry.capabilities() == {"resize": 2}

    old.close()
    assert registry.capabilities() == {"resize": 2}
    new.close()
    assert registry.capabilities() == {}


def test_a_closed_registry_knows_nobody() -> None:
    registry = MemoryWorkerRegistry()
    with join(registry, "w") as worker:
        registry.close()
        worker.set_idle(1)
        assert (registry.workers(), registry.capabilities()) == ((), {})


def test_without_a_broker_nobody_is_known() -> None:
    registry = NoneWorkerRegistry()
    with NonePresence() as worker:
        worker.set_idle(1)
        assert (registry.workers(), registry.capabilities()) == ((), {})
    registry.close()


def test_a_negative_count_is_refused_everywhere() -> None:
    for worker in (NonePresence(), join(MemoryWorkerRegistry(), "w")):
        with pytest.raises(ConfigError, match="idle count is -1: allowed is 0 or more"):
            worker.set_idle(-1)

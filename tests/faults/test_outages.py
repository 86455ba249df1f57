"""Brokers that are away; in full: `tests.faults.broker_costs`, `tests.faults.long_outages`."""

from pathlib import Path

import pytest

from tests.faults.broker_costs import TROUBLES, Result, costs
from tests.faults.long_outages import sit_out
from tests.support.servers import BrokerProcess

pytest_plugins = ["tests.support.databases"]


@pytest.mark.parametrize("name", TROUBLES)
def test_a_broker_in_trouble_costs_the_jobs_next_to_nothing(name: str, tmp_path: Path) -> None:
    result = costs(f"sqlite:///{tmp_path}/jobs.db", TROUBLES[name], rounds=50)

    print(f"\n{result}")
    assert result.starts_at_once
    assert result.is_cheap


def test_what_costs_too_much_would_be_seen() -> None:
    assert not Result(150, 20, [1.0] * 20, [1.0] * 20).starts_at_once
    assert not Result(1, 1, [8.0] * 20, [1.0] * 20).is_cheap
    assert not Result(1, 1, [1.0] * 18 + [99.0] * 2, [1.0] * 20).is_cheap
    assert Result(100, 1, [7.0] * 20, [1.0] * 20).is_cheap


def test_events_dropped_in_a_long_outage_are_told_when_the_broker_is_back(
    own_broker: BrokerProcess, tmp_path: Path
) -> None:
    result = sit_out(f"sqlite:///{tmp_path}/jobs.db", own_broker, 15_000)

    print(f"\n{result}")
    assert result.left_by_memory > 0
    assert result.is_clean

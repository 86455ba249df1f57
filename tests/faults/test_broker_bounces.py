"""Brokers that go and come back; the full form is `python -m tests.faults.broker_bounces`."""

from random import Random

import pytest

from tests.faults.broker_bounces import Bounces, Way, bounce_broker
from tests.faults.event_assertions import (
    Kept,
    Losses,
    ReceivedEvents,
    last_states_lost,
    losses,
    received_events,
)
from tests.support.servers import broker_process

pytest_plugins = ["tests.support.databases"]


@pytest.mark.parametrize(
    ("shared_database_url", "way", "from_pypi"),
    [("sqlite file", "kill", False), ("postgresql", "cut off", True)],
    indirect=["shared_database_url"],
)
def test_every_event_arrives_whatever_happens_to_the_broker(
    shared_database_url: str, way: Way, *, from_pypi: bool
) -> None:
    with broker_process(from_pypi=from_pypi, lasting=True) as broker:
        # iotcore may be killed only when it has nothing to forget.
        bounces = Bounces("cut off" if broker.name == "iotcore" else way, times=3, seconds=4)
        result = bounce_broker(shared_database_url, broker, bounces, Random())

    print(f"\n{result}")
    assert result.events >= 100
    assert result.is_clean


def event(seq: int, event_id: str, progress: int = 0) -> bytes:
    return (
        f'{{"job_id":"job","created_at":1,"seq":{seq},"event_id":"{event_id}",'
        f'"progress":{progress}}}'
    ).encode()


def test_events_that_never_arrived_would_be_counted() -> None:
    told = received_events([event(1, "a"), event(3, "c")])

    assert losses([Kept("job", 1, 5)], told) == Losses(states=2, progress=1)
    assert losses([Kept("job", 2, 2)], told) == Losses(states=2, progress=0)
    assert last_states_lost([Kept("job", 1, 3), Kept("job", 1, 4), Kept("j", 1, 3)], told) == 2


def test_repeats_that_are_no_copies_would_be_counted() -> None:
    payloads = [event(1, "a"), event(1, "a"), event(1, "a", progress=1), event(1, "b")]
    told = received_events(payloads)

    assert told == ReceivedEvents(told.changes, repeats=2, contradictions=2)
    assert len(told.changes) == 1

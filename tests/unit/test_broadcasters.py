"""What broadcasters do without a broker."""

import threading
from collections.abc import Callable

import pytest

from cl_server_shared.errors import ConfigError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from tests.support.open_resources import open_resources


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.queued,
        timestamp=1,
        progress=0,
        task_type="image_resize",
        seq=seq,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MqttBroadcaster("", 1883, "t"), "host is empty"),
        (lambda: MqttBroadcaster("h", 0, "t"), "MQTT port is 0: allowed is 1-65535"),
        (lambda: MqttBroadcaster("h", 65_536, "t"), "MQTT port is 65536: allowed is 1-65535"),
        (
            lambda: MqttBroadcaster("h", 1, "t", keepalive_seconds=0),
            "keepalive_seconds is 0: allowed is 1-65535",
        ),
        (
            lambda: MqttBroadcaster("h", 1, "t", max_queued_events=0),
            "max_queued_events is 0: allowed is 1 or more",
        ),
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_what_is_allowed(
    make: Callable[[], MqttBroadcaster], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_constructing_and_closing_starts_no_thread() -> None:
    before = open_resources()
    broadcasters = [MqttBroadcaster("no.such.host", 1883, "t") for _ in range(1000)]
    gained = open_resources() - before
    for each in broadcasters:
        each.close()

    assert gained | (open_resources() - before) == set()


def test_memory_keeps_the_newest_published_events() -> None:
    broadcaster = MemoryBroadcaster(max_kept_events=3)
    for seq in range(5):
        broadcaster.publish(event(seq))

    assert broadcaster.published == (event(2), event(3), event(4))


def test_memory_delivers_before_publish_returns() -> None:
    broadcaster = MemoryBroadcaster()
    got: list[tuple[JobEvent, int]] = []
    broadcaster.subscribe(lambda each: got.append((each, threading.get_ident())))

    broadcaster.publish(event(1))

    assert got == [(event(1), threading.get_ident())]


def test_memory_goes_on_after_a_callback_that_interrupts_the_publisher() -> None:
    broadcaster = MemoryBroadcaster()
    got: list[JobEvent] = []

    def interrupt(each: JobEvent) -> None:
        if each == event(1):
            raise KeyboardInterrupt

    broadcaster.subscribe(got.append)
    broadcaster.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        broadcaster.publish(event(1))
    broadcaster.publish(event(2))

    assert got == [event(1), event(2)]


def test_none_takes_everything_and_calls_nobody() -> None:
    broadcaster = NoneBroadcaster()
    got: list[JobEvent] = []
    with broadcaster.subscribe(got.append, "any/#"):
        broadcaster.publish(event(1))
    broadcaster.close()
    broadcaster.close()

    assert got == []

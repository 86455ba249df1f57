"""A system that gives no thread: nothing is raised, and the next need starts what is missing."""

import time
from collections.abc import Callable

import pytest

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.presence.payload import new_status
from cl_server_shared.presence.presence import MqttPresence
from cl_server_shared.presence.registry import MqttWorkerRegistry
from cl_server_shared.process.clock import SystemClock
from tests.support.refused_threads import refused_threads, refused_threads_where
from tests.support.servers import Address
from tests.support.waiting import BUSY_SECONDS, wait_until


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=50,
        task_type="image_resize",
        seq=seq,
    )


def seconds_of(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def test_events_wait_for_a_thread_and_the_next_publish_tries_again(
    mqtt_broker: Address, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*mqtt_broker, topic, max_queued_events=100)
    with refused_threads():
        broadcaster.subscribe(got.append)
        for seq in range(150):
            broadcaster.publish(event(seq))

    assert broadcaster.dropped_events == 50
    broadcaster.publish(event(150))
    wait_until(lambda: len(got) == 100)
    broadcaster.close()

    assert got == [event(seq) for seq in range(51, 151)]
    assert broadcaster.dropped_events == 51
    assert len([line for line in caplog.messages if "cannot start, trying again" in line]) == 1


def test_a_subscription_that_found_no_thread_is_served_once_there_is_one(
    mqtt_broker: Address, topic: str
) -> None:
    got: list[JobEvent] = []
    subscriber = MqttBroadcaster(*mqtt_broker, topic)
    with refused_threads():
        subscriber.subscribe(got.append)
    with subscriber.subscribe(print, f"{topic}/other"):
        publisher = MqttBroadcaster(*mqtt_broker, topic)
        wait_until(lambda: publisher.publish(event(1)) or got)
    publisher.close()
    subscriber.close()

    assert set(got) == {event(1)}


def test_without_the_thread_that_gathers_wakes_the_publisher_wakes_the_network_itself(
    mqtt_broker: Address, topic: str
) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    with refused_threads_where(lambda name: name.endswith("waker")):
        broadcaster.subscribe(got.append)
        broadcaster.publish(event(0))
        wait_until(lambda: got)
        started = time.monotonic()
        for seq in range(1, 20):
            broadcaster.publish(event(seq))
            wait_until(lambda seq=seq: event(seq) in got)
        seconds = time.monotonic() - started
    broadcaster.close()

    assert seconds < 10  # by the network thread's own tick: 19 s


@pytest.mark.parametrize("is_used", [False, True])
def test_close_is_in_time_and_counts_what_could_not_be_sent(
    mqtt_broker: Address, topic: str, *, is_used: bool
) -> None:
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    with refused_threads():
        subscription = broadcaster.subscribe(print)
        if is_used:
            broadcaster.publish(event(1))
        closing_seconds = [seconds_of(broadcaster.close), seconds_of(broadcaster.close)]
    subscription.close()

    assert max(closing_seconds) <= 2 + BUSY_SECONDS
    assert broadcaster.dropped_events == int(is_used)


def test_a_thread_that_close_gets_delivers_what_waits(mqtt_broker: Address, topic: str) -> None:
    got: list[JobEvent] = []
    subscriber, publisher = (MqttBroadcaster(*mqtt_broker, topic) for _ in range(2))
    subscriber.subscribe(got.append)
    subscriber.publish(event(0))
    wait_until(lambda: got)
    with refused_threads():
        publisher.publish(event(1))
    publisher.close()

    wait_until(lambda: event(1) in got)
    subscriber.close()
    assert publisher.dropped_events == 0


def presence(broker: Address, topic: str) -> MqttPresence:
    clock = SystemClock()
    return MqttPresence(
        Broker(*broker),
        new_status("w", ["resize"], clock.now_ms(), "token"),
        topic_prefix=topic,
        heartbeat_seconds=600,
        clock=clock,
    )


def registry(broker: Address, topic: str) -> MqttWorkerRegistry:
    return MqttWorkerRegistry(
        Broker(*broker), topic_prefix=topic, forget_after_seconds=600, clock=SystemClock()
    )


def test_a_worker_is_announced_and_known_once_there_are_threads(
    mqtt_broker: Address, topic: str
) -> None:
    with refused_threads():
        worker, known = presence(mqtt_broker, topic), registry(mqtt_broker, topic)
        worker.set_idle(1)
        assert known.workers() == ()

    worker.set_idle(2)
    wait_until(lambda: known.capabilities() == {"resize": 2})
    worker.close()
    wait_until(lambda: known.workers() == ())
    known.close()


def test_a_worker_that_got_no_thread_closes_in_time(mqtt_broker: Address, topic: str) -> None:
    with refused_threads():
        worker, known = presence(mqtt_broker, topic), registry(mqtt_broker, topic)
        worker.set_idle(1)
        closing_seconds = seconds_of(worker.close)
        known.close()

    assert closing_seconds <= 1 + BUSY_SECONDS
    assert known.workers() == ()

"""The MQTT broadcaster against real brokers, seen by an independent client, processes and forks."""

import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.events.payload import decode_event, encode_event
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.mqtt.connection import Connection
from tests.support.listener import Listener, Received
from tests.support.open_resources import open_resources
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import wait_until

_PROGRAMS: Final = Path(__file__).parent.parent / "programs"


@pytest.fixture
def broadcaster(mqtt_broker: Address, topic: str) -> Generator[MqttBroadcaster]:
    made = MqttBroadcaster(mqtt_broker.host, mqtt_broker.port, topic)
    yield made
    made.close()


def event(seq: int, job_id: str = "job") -> JobEvent:
    return JobEvent(
        job_id=job_id,
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=50,
        task_type="image_resize",
        seq=seq,
    )


def events(number: int, job_id: str = "job") -> list[JobEvent]:
    return [event(seq, job_id) for seq in range(number)]


def run_program(name: str, *arguments: object) -> None:
    """Run one of our programs to its end; it keeps no pipe of ours open."""
    command = [sys.executable, str(_PROGRAMS / name), *map(str, arguments)]
    subprocess.run(
        command, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def jobs_of(listener: Listener) -> dict[str, list[int]]:
    """Return the sequence numbers that arrived, by job id."""
    jobs: dict[str, list[int]] = {}
    for payload in listener.payloads:
        read = decode_event(payload)
        assert isinstance(read, JobEvent)
        jobs.setdefault(read.job_id, []).append(read.seq)
    return jobs


def test_an_event_goes_over_the_wire_as_its_payload_with_qos_1_and_is_not_retained(
    broadcaster: MqttBroadcaster, mqtt_broker: Address, topic: str
) -> None:
    with Listener(mqtt_broker, topic) as listener:
        broadcaster.publish(event(1))
        wait_until(lambda: listener.received)

    assert listener.received == [Received(topic, encode_event(event(1)), qos=1, retain=False)]


def test_messages_that_are_no_events_are_passed_over_with_one_warning(
    broadcaster: MqttBroadcaster,
    mqtt_broker: Address,
    topic: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    got: list[JobEvent] = []
    broadcaster.subscribe(got.append)
    other = Connection(Broker(mqtt_broker.host, mqtt_broker.port, 15), max_waiting=10)
    broadcaster.publish(event(1))
    wait_until(lambda: got)

    for payload in [b"\xff\xff", b"{}", encode_event(event(2))]:
        other.publish(topic, payload)
    wait_until(lambda: len(got) == 2)
    other.close()

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert got == [event(1), event(2)]
    assert [warning.partition(":")[0] for warning in warnings] == [
        f"Ignored on {topic!r}, no event"
    ]


def test_events_published_while_the_broker_is_away_arrive_once_it_is_back(
    own_broker: BrokerProcess, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, topic)
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(0))
    wait_until(lambda: got)

    own_broker.kill()
    for each in islice(events(100), 1, None):
        broadcaster.publish(each)
    wait_until(lambda: "is away" in caplog.text)
    own_broker.start()

    wait_until(lambda: len(got) == 100)
    broadcaster.close()
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert list(dict.fromkeys(got)) == events(100)  # at least once each
    assert [line.count("is away") - line.count("is back") for line in lines] == [1, -1]


def test_a_subscription_is_made_again_at_every_return_of_the_broker(
    own_broker: BrokerProcess, topic: str
) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, topic)
    broadcaster.subscribe(got.append)
    for each in events(4):
        broadcaster.publish(each)
        wait_until(lambda each=each: each in got)
        own_broker.restart()
    broadcaster.close()

    assert list(dict.fromkeys(got)) == events(4)  # at least once each


def test_each_message_is_acknowledged_once_whatever_the_broker_does_meanwhile(
    own_broker: BrokerProcess, topic: str
) -> None:
    settled: Counter[tuple[int, bool]] = Counter()
    connection = Connection(Broker(*own_broker.address, 15), max_waiting=1000)

    for number in range(600):
        connection.publish(
            topic, b"x" * 300, lambda arrived, number=number: settled.update([(number, arrived)])
        )
        if number % 200 == 100:
            own_broker.restart()

    wait_until(lambda: len(settled) == 600)
    connection.close()
    assert settled == dict.fromkeys(((number, True) for number in range(600)), 1)


@pytest.mark.parametrize("way", ["os", "multiprocessing"])
def test_events_of_a_parent_and_of_its_forks_all_arrive(
    mqtt_broker: Address, topic: str, way: str
) -> None:
    names = ["parent before", "parent after", *(f"child {number}" for number in range(4))]
    with Listener(mqtt_broker, topic) as listener:
        run_program("fork_and_publish.py", *mqtt_broker, topic, way, 50)
        wait_until(lambda: len(listener.received) == 300)

    assert jobs_of(listener) == {name: list(range(50)) for name in names}


def test_a_process_that_ends_right_after_publishing_loses_nothing(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    with Listener(mqtt_broker, topic) as listener:
        run_program("publish_and_exit.py", *mqtt_broker, topic, 500, tmp_path / "ended")
        wait_until(lambda: len(listener.received) >= 500)

    assert jobs_of(listener) == {"leaving": list(range(500))}


def test_close_delivers_what_was_published_right_before(
    broadcaster: MqttBroadcaster, mqtt_broker: Address, topic: str
) -> None:
    with Listener(mqtt_broker, topic) as listener:
        for each in events(300):
            broadcaster.publish(each)
        broadcaster.close()
        wait_until(lambda: len(listener.received) == 300)

    assert listener.payloads == [encode_event(each) for each in events(300)]


def test_other_clients_of_the_process_may_come_and_go(
    broadcaster: MqttBroadcaster, mqtt_broker: Address, topic: str
) -> None:
    got: list[JobEvent] = []
    broadcaster.subscribe(got.append)

    for each in events(5):
        with Listener(mqtt_broker, topic):
            broadcaster.publish(each)
            wait_until(lambda each=each: each in got)
        MqttBroadcaster(*mqtt_broker, topic).close()

    assert got == events(5)


def test_a_process_with_more_than_1023_open_files_still_publishes(
    mqtt_broker: Address, topic: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    try:
        broadcaster.subscribe(got.append)
        broadcaster.publish(event(1))
        wait_until(lambda: got)
    finally:
        broadcaster.close()
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert got == [event(1)]


def test_a_closed_broadcaster_leaves_no_thread_no_file_and_no_memory(
    mqtt_broker: Address, topic: str
) -> None:
    def use_one() -> weakref.ref[threading.Event]:
        received = threading.Event()
        broadcaster = MqttBroadcaster(*mqtt_broker, topic)
        broadcaster.subscribe(lambda _event: received.set())
        broadcaster.publish(event(1))
        assert received.wait(10)
        broadcaster.close()
        return weakref.ref(received)

    use_one()
    gc.collect()
    before = open_resources()
    used = [use_one() for _ in range(10)]
    gc.collect()

    assert [each() for each in used] == [None] * 10
    assert open_resources() - before == set()

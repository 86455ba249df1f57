"""A service knows which workers there are: real processes and brokers, whatever befalls them."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from cl_server_shared.errors import ConfigError
from cl_server_shared.mqtt.broker import Broker
from cl_server_shared.presence.payload import new_status
from cl_server_shared.presence.presence import MqttPresence
from cl_server_shared.presence.registry import MqttWorkerRegistry
from cl_server_shared.process.clock import SystemClock
from tests.support.faulty_brokers import FAULTS, Fault
from tests.support.presence_client import keep, publish
from tests.support.presence_workers import presence_worker
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import BUSY_SECONDS, wait_until

_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "fork_and_list_workers.py"


@contextmanager
def registry(
    broker: Address, prefix: str, forget_after_seconds: float = 60
) -> Generator[MqttWorkerRegistry]:
    made = MqttWorkerRegistry(
        Broker(*broker),
        topic_prefix=prefix,
        forget_after_seconds=forget_after_seconds,
        clock=SystemClock(),
    )
    try:
        yield made
    finally:
        made.close()


def worker(broker: Address, prefix: str, worker_id: str, *capabilities: str) -> MqttPresence:
    clock = SystemClock()
    return MqttPresence(
        Broker(*broker),
        new_status(worker_id, capabilities, clock.now_ms(), worker_id),
        topic_prefix=prefix,
        heartbeat_seconds=0.1,
        clock=clock,
    )


def ids(known: MqttWorkerRegistry) -> list[str]:
    return [each.worker_id for each in known.workers()]


def payload_of(worker_id: str, timestamp: int, **more: object) -> bytes:
    """Write what workers announced before there were sessions."""
    fields = {"id": worker_id, "worker_id": worker_id, "capabilities": ["resize"]}
    return json.dumps({**fields, "idle_count": 1, "timestamp": timestamp, **more}).encode()


def test_the_idle_workers_of_each_capability_are_summed(mqtt_broker: Address, topic: str) -> None:
    with (
        registry(mqtt_broker, topic) as known,
        worker(mqtt_broker, topic, "a", "resize", "convert") as first,
        worker(mqtt_broker, topic, "b", "resize") as second,
        worker(mqtt_broker, topic, "c", "transcode"),
    ):
        wait_until(lambda: len(known.workers()) == 3)
        assert known.capabilities() == {"resize": 0, "convert": 0, "transcode": 0}
        first.set_idle(1)
        second.set_idle(3)

        wait_until(lambda: known.capabilities()["resize"] == 4)
        assert known.capabilities() == {"resize": 4, "convert": 1, "transcode": 0}
        assert ids(known) == ["a", "b", "c"]
        second.close()
        wait_until(lambda: ids(known) == ["a", "c"])
        assert known.capabilities() == {"resize": 1, "convert": 1, "transcode": 0}


def test_who_was_there_before_is_known(mqtt_broker: Address, topic: str) -> None:
    with worker(mqtt_broker, topic, "early", "resize") as early:
        early.set_idle(2)
        with registry(mqtt_broker, topic) as known:
            wait_until(lambda: known.capabilities() == {"resize": 2})


@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_a_worker_process_that_ends_is_forgotten(
    mqtt_broker: Address, topic: str, tmp_path: Path, ending: str
) -> None:
    with (
        registry(mqtt_broker, topic) as known,
        presence_worker(mqtt_broker, topic, tmp_path, "w-1") as dying,
        presence_worker(mqtt_broker, topic, tmp_path, "w-2"),
    ):
        wait_until(lambda: ids(known) == ["w-1", "w-2"])
        dying.kill() if ending == "kill" else dying.exit()

        wait_until(lambda: ids(known) == ["w-2"])


def test_workers_are_known_again_after_the_broker_forgot_all(
    own_broker: BrokerProcess, topic: str, tmp_path: Path
) -> None:
    with (
        registry(own_broker.address, topic, forget_after_seconds=1) as known,
        presence_worker(own_broker.address, topic, tmp_path, heartbeat_seconds=0.2),
    ):
        wait_until(lambda: ids(known) == ["w-1"])
        own_broker.kill()
        wait_until(lambda: ids(known) == [])
        own_broker.start()

        wait_until(lambda: ids(known) == ["w-1"])


def test_the_late_will_of_an_old_worker_takes_no_new_one_away(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    with (
        registry(mqtt_broker, topic) as known,
        presence_worker(mqtt_broker, topic, tmp_path) as old,
    ):
        wait_until(lambda: ids(known) == ["w-1"])
        old_session = known.workers()[0].session
        old.stop()
        with presence_worker(mqtt_broker, topic, tmp_path) as new:
            wait_until(lambda: known.workers()[0].session > old_session)
            new.order("1")
            wait_until(lambda: known.capabilities()["resize"] == 1)
            announced_at = known.workers()[0].timestamp
            old.kill()
            seen: list[int] = []
            # The will is there once the new worker has contradicted it.
            wait_until(lambda: seen.append(len(known.workers())) or is_newer(known, announced_at))

            assert set(seen) == {1}
            assert known.workers()[0].session > old_session
        wait_until(lambda: ids(known) == [])


def is_newer(known: MqttWorkerRegistry, timestamp: int) -> bool:
    return known.workers()[0].timestamp > timestamp


def test_a_silent_worker_is_forgotten_and_one_with_heartbeats_is_not(
    mqtt_broker: Address, topic: str
) -> None:
    with (
        registry(mqtt_broker, topic, forget_after_seconds=2) as known,
        worker(mqtt_broker, topic, "alive", "resize"),
    ):
        wait_until(lambda: ids(known) == ["alive"])
        published_ms = SystemClock().now_ms()
        publish(mqtt_broker, f"{topic}/silent", payload_of("silent", published_ms))
        wait_until(lambda: "silent" in ids(known))
        wait_until(lambda: ids(known) == ["alive"])

        assert SystemClock().now_ms() - published_ms >= 2000
        assert known.workers()[0].timestamp >= published_ms  # its heartbeats kept it there


def test_what_a_dead_worker_left_at_the_broker_is_as_old_as_its_timestamp(
    mqtt_broker: Address, topic: str
) -> None:
    now_ms = SystemClock().now_ms()
    left = {"dead": now_ms - 120_000, "fresh": now_ms - 10_000, "ahead": now_ms + 3_600_000}
    for worker_id, timestamp in left.items():
        keep(mqtt_broker, f"{topic}/{worker_id}", payload_of(worker_id, timestamp))
    try:
        with (
            registry(mqtt_broker, topic, forget_after_seconds=60) as known,
            registry(mqtt_broker, topic, forget_after_seconds=600) as lasting,
        ):
            wait_until(lambda: len(lasting.workers()) == 3)
            wait_until(lambda: len(known.workers()) == 2)
            assert ids(known) == ["ahead", "fresh"]
    finally:
        for worker_id in left:
            keep(mqtt_broker, f"{topic}/{worker_id}", b"")


def test_workers_without_sessions_are_known_and_other_messages_are_ignored(
    mqtt_broker: Address, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    now_ms = SystemClock().now_ms()
    with registry(mqtt_broker, topic) as known, worker(mqtt_broker, topic, "z", "resize"):
        wait_until(lambda: ids(known) == ["z"])
        publish(mqtt_broker, f"{topic}/junk", b"\xff")
        publish(mqtt_broker, f"{topic}/other", payload_of("another", now_ms))
        publish(mqtt_broker, f"{topic}/negative", payload_of("negative", now_ms, idle_count=-1))
        publish(mqtt_broker, f"{topic}/old", payload_of("old", now_ms))
        wait_until(lambda: ids(known) == ["old", "z"])
        publish(mqtt_broker, f"{topic}/old", b"")
        wait_until(lambda: ids(known) == ["z"])

    warnings = [line for line in caplog.messages if "Ignored" in line]
    assert [line.partition(":")[0] for line in warnings] == [
        f"Ignored on {f'{topic}/junk'!r}, no worker"
    ]


def test_a_parent_and_its_fork_know_the_same_workers(mqtt_broker: Address, topic: str) -> None:
    with (
        worker(mqtt_broker, topic, "a", "resize"),
        worker(mqtt_broker, topic, "b", "resize"),
    ):
        command = [sys.executable, str(_PROGRAM), *map(str, mqtt_broker), topic, "2"]
        printed = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)

    assert printed.stdout.splitlines() == ["parent a,b", "child a,b", "closed 0"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that_does_not_answer_holds_up_no_service(fault: Fault) -> None:
    with fault() as address:
        started = time.monotonic()
        with registry(address, "workers") as known:
            assert known.capabilities() == {}
            asking_seconds = time.monotonic() - started
        closing_seconds = time.monotonic() - started

    assert asking_seconds <= BUSY_SECONDS
    assert closing_seconds - asking_seconds <= 2 + BUSY_SECONDS


def test_a_closed_registry_knows_nobody(mqtt_broker: Address, topic: str) -> None:
    with registry(mqtt_broker, topic) as known, worker(mqtt_broker, topic, "a", "resize"):
        wait_until(lambda: ids(known) == ["a"])
        known.close()
        known.close()

        assert (known.workers(), known.capabilities()) == ((), {})


def test_arguments_that_cannot_be_are_refused(mqtt_broker: Address) -> None:
    with pytest.raises(ConfigError, match="no MQTT topic"), registry(mqtt_broker, "workers/#"):
        pass
    with (
        pytest.raises(ConfigError, match="forget_after_seconds is 0"),
        registry(mqtt_broker, "workers", forget_after_seconds=0),
    ):
        pass

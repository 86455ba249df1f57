"""Workers announce themselves: real processes, real brokers, and any client that subscribes."""

import json
import logging
import time
from pathlib import Path
from typing import Final, cast

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from pydantic import SecretStr

from cl_server_shared.errors import ConfigError
from cl_server_shared.mqtt.broker import Broker, Security
from cl_server_shared.mqtt.connection import Connection
from cl_server_shared.presence.payload import new_status
from cl_server_shared.presence.presence import MqttPresence
from cl_server_shared.process.clock import SystemClock
from tests.support.broker_config import CA_FILE, PASSWORD, USERNAME
from tests.support.faulty_brokers import FAULTS, Fault
from tests.support.listener import Listener
from tests.support.presence_client import MQTT_5, kept, newest, publish, read
from tests.support.presence_workers import end_process, presence_worker
from tests.support.servers import Address, BrokerProcess
from tests.support.waiting import BUSY_SECONDS, wait_until

_FAR_SECONDS: Final = 600.0  # a heartbeat that no test lives to see


def presence(
    broker: Address,
    prefix: str,
    worker_id: str = "w-1",
    heartbeat_seconds: float = _FAR_SECONDS,
    security: Security | None = None,
) -> MqttPresence:
    clock = SystemClock()
    return MqttPresence(
        Broker(*broker, security=security or Security()),
        new_status(worker_id, ["resize", "convert"], clock.now_ms(), "token"),
        topic_prefix=prefix,
        heartbeat_seconds=heartbeat_seconds,
        clock=clock,
    )


def is_kept(broker: Address, prefix: str) -> bool:
    return len(kept(broker, prefix)) == 1


def kept_count(broker: Address, prefix: str) -> int | None:
    """Return the idle count that the broker keeps for the only worker."""
    found = kept(broker, prefix)
    return read(found[0].payload)["idle_count"] if found else None


def is_idle(listener: Listener, count: int) -> bool:
    announced = newest(listener)
    return announced is not None and announced["idle_count"] == count


def test_a_worker_is_announced_by_a_retained_message(mqtt_broker: Address, topic: str) -> None:
    before_ms = SystemClock().now_ms()
    with Listener(mqtt_broker, f"{topic}/+") as listener, presence(mqtt_broker, topic):
        wait_until(lambda: listener.received)
        (late,) = kept(mqtt_broker, topic)

    first = listener.received[0]
    assert (first.topic, first.qos, first.retain) == (f"{topic}/w-1", 1, False)
    assert (late.topic, late.payload, late.retain) == (first.topic, first.payload, True)
    announced = cast("dict[str, object]", json.loads(first.payload))
    assert list(announced) == [
        "id",
        "worker_id",
        "capabilities",
        "idle_count",
        "timestamp",
        "session",
    ]
    assert (announced["id"], announced["worker_id"]) == ("w-1", "w-1")
    assert (announced["capabilities"], announced["idle_count"]) == (["resize", "convert"], 0)
    assert before_ms <= read(first.payload)["timestamp"] <= SystemClock().now_ms()
    assert announced["session"]


def test_a_worker_is_announced_again_and_again(mqtt_broker: Address, topic: str) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence(mqtt_broker, topic, heartbeat_seconds=0.05),
    ):
        wait_until(lambda: len(listener.received) >= 5)

    announced = [read(payload) for payload in listener.payloads[:5]]
    times = [each["timestamp"] for each in announced]
    assert len({each["session"] for each in announced}) == 1
    assert times == sorted(times)
    assert times[4] - times[0] >= 150  # four pauses of 50 ms, and a clock that may be coarse


def test_a_change_is_announced_at_once_and_the_last_one_stays(
    mqtt_broker: Address, topic: str
) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence(mqtt_broker, topic) as worker,
    ):
        wait_until(lambda: is_idle(listener, 0))
        started = time.monotonic()
        for count in range(1, 21):
            worker.set_idle(count)
            wait_until(lambda count=count: is_idle(listener, count))
        assert time.monotonic() - started < 15  # by the thread's own tick of 1 s: 19 s or more
        for count in range(200):
            worker.set_idle(count)
        wait_until(lambda: is_idle(listener, 199))
        (late,) = kept(mqtt_broker, topic)

    assert read(late.payload)["idle_count"] == 199


def test_the_same_count_is_not_announced_again(mqtt_broker: Address, topic: str) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence(mqtt_broker, topic) as worker,
    ):
        for count in (0, 0, 1, 1, 1, 2):
            worker.set_idle(count)
            wait_until(lambda count=count: is_idle(listener, count))
    wait_until(lambda: listener.payloads[-1] == b"")

    assert [read(payload)["idle_count"] for payload in listener.payloads[:-1]] == [0, 1, 2]


def test_a_worker_that_is_closed_is_cleared(mqtt_broker: Address, topic: str) -> None:
    with Listener(mqtt_broker, f"{topic}/+") as listener:
        worker = presence(mqtt_broker, topic)
        wait_until(lambda: listener.received)
        worker.close()
        worker.close()
        worker.set_idle(3)
        wait_until(lambda: listener.payloads[-1] == b"")

    assert kept(mqtt_broker, topic) == []
    assert len(listener.received) == 2


def test_a_worker_that_is_closed_at_once_leaves_nothing(mqtt_broker: Address, topic: str) -> None:
    for _ in range(20):
        presence(mqtt_broker, topic).close()

    assert kept(mqtt_broker, topic) == []


@pytest.mark.parametrize("ending", ["close", "exit", "kill"])
def test_a_worker_process_that_ends_is_cleared(
    mqtt_broker: Address, topic: str, tmp_path: Path, ending: str
) -> None:
    with presence_worker(mqtt_broker, topic, tmp_path) as worker:
        wait_until(lambda: is_kept(mqtt_broker, topic))
        match ending:
            case "close":
                worker.order("close")
            case "exit":
                assert worker.exit() == 0
            case _:
                worker.kill()

        wait_until(lambda: not kept(mqtt_broker, topic))


def test_a_change_of_a_worker_process_is_announced(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence_worker(mqtt_broker, topic, tmp_path) as worker,
    ):
        wait_until(lambda: is_idle(listener, 0))
        for count in (1, 0, 7):
            worker.order(str(count))
            wait_until(lambda count=count: is_idle(listener, count))


def test_a_child_of_a_worker_neither_clears_it_nor_keeps_it_alive(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence_worker(mqtt_broker, topic, tmp_path) as worker,
    ):
        wait_until(lambda: is_idle(listener, 0))
        child = worker.fork()
        try:
            worker.order("5")
            wait_until(lambda: is_idle(listener, 5))
            assert [read(each)["idle_count"] for each in listener.payloads] == [0, 5]

            worker.kill()
            wait_until(lambda: listener.payloads[-1] == b"")
        finally:
            end_process(child)
    assert kept(mqtt_broker, topic) == []


def test_a_broker_that_forgot_all_gets_the_announcement_again(
    own_broker: BrokerProcess, topic: str, tmp_path: Path
) -> None:
    with presence_worker(own_broker.address, topic, tmp_path) as worker:
        worker.order("3")
        wait_until(lambda: kept_count(own_broker.address, topic) == 3)
        for _ in range(2):
            own_broker.restart()
            wait_until(lambda: kept_count(own_broker.address, topic) == 3)

        worker.kill()
        wait_until(lambda: not kept(own_broker.address, topic))


def test_what_changed_while_the_broker_was_away_is_announced_when_it_is_back(
    own_broker: BrokerProcess, topic: str, tmp_path: Path
) -> None:
    with presence_worker(own_broker.address, topic, tmp_path) as worker:
        wait_until(lambda: kept_count(own_broker.address, topic) == 0)
        own_broker.kill()
        for count in range(50):
            worker.order(str(count))
        own_broker.start()

        wait_until(lambda: kept_count(own_broker.address, topic) == 49)
        assert worker.exit() == 0
        assert kept(own_broker.address, topic) == []


def test_the_late_will_of_an_old_worker_removes_no_new_one(
    mqtt_broker: Address, topic: str, tmp_path: Path
) -> None:
    with (
        presence_worker(mqtt_broker, topic, tmp_path) as old,
        Listener(mqtt_broker, f"{topic}/+") as listener,
    ):
        wait_until(lambda: newest(listener))
        old_session = read(listener.payloads[-1])["session"]
        old.stop()
        with presence_worker(mqtt_broker, topic, tmp_path) as new:
            wait_until(lambda: read(listener.payloads[-1])["session"] > old_session)
            old.kill()
            wait_until(lambda: b"" in listener.payloads)
            wait_until(lambda: newest(listener))

            (late,) = kept(mqtt_broker, topic)
            assert read(late.payload)["session"] > old_session
            assert new.output == ""


def test_of_two_workers_with_one_id_the_newer_is_announced_and_the_other_logs_that_once(
    mqtt_broker: Address, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Listener(mqtt_broker, f"{topic}/+") as listener:
        old = presence(mqtt_broker, topic, heartbeat_seconds=0.1)
        wait_until(lambda: newest(listener))
        old_session = read(listener.payloads[-1])["session"]
        time.sleep(0.002)  # the sessions' order is that of milliseconds
        new = presence(mqtt_broker, topic, heartbeat_seconds=0.1)
        wait_until(lambda: "is no longer announced" in caplog.text)
        seen = len(listener.received)
        old.set_idle(9)
        wait_until(lambda: len(listener.received) >= seen + 15)
        old.close()
        wait_until(lambda: len(listener.received) >= seen + 20)

        later = [read(payload) for payload in listener.payloads[seen:]]
        assert {each["session"] for each in later} - {old_session} != set()
        assert [each for each in later if each["session"] == old_session] == []
        new.close()
        wait_until(lambda: listener.payloads[-1] == b"")

    warnings = [line for line in caplog.messages if "is no longer announced" in line]
    assert len(warnings) == 1
    assert "'w-1'" in warnings[0]


@pytest.mark.parametrize(
    "payload",
    [b"", b"nonsense", b'{"worker_id":"w-1","capabilities":[],"idle_count":9,"timestamp":1}'],
)
def test_what_others_publish_in_its_name_is_corrected(
    mqtt_broker: Address, topic: str, payload: bytes
) -> None:
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence(mqtt_broker, topic),
    ):
        wait_until(lambda: listener.received)
        publish(mqtt_broker, f"{topic}/w-1", payload)

        wait_until(lambda: len(listener.received) == 3)
        assert listener.payloads[1] == payload
        assert read(listener.payloads[2])["session"] == read(listener.payloads[0])["session"]


def test_two_that_contradict_each_other_do_not_fill_the_network(
    mqtt_broker: Address, topic: str
) -> None:
    started = time.monotonic()
    other = Connection(Broker(*mqtt_broker), max_waiting=1000)
    with (
        Listener(mqtt_broker, f"{topic}/+") as listener,
        presence(mqtt_broker, topic),
    ):
        wait_until(lambda: listener.received)
        for _ in range(200):
            other.publish(f"{topic}/w-1", b"contradiction")
        other.close()
        publish(mqtt_broker, f"{topic}/w-1", b"")
        wait_until(lambda: b"" in listener.payloads and newest(listener))

    seconds = time.monotonic() - started
    assertions = [payload for payload in listener.payloads if payload.startswith(b"{")]
    assert 3 <= len(assertions) <= 3 + seconds  # at first, at once, and once a second


def test_clients_of_both_versions_of_mqtt_read_the_same(
    own_broker: BrokerProcess, topic: str
) -> None:
    with presence(own_broker.address, topic) as worker:
        worker.set_idle(2)
        wait_until(lambda: is_kept(own_broker.address, topic))
        (new,) = kept(own_broker.address, topic, own_broker.address, MQTT_5)
        (old,) = kept(
            own_broker.address, topic, own_broker.old_address, MQTTProtocolVersion.MQTTv311
        )

    assert (old.topic, old.payload, old.retain) == (new.topic, new.payload, True)
    assert read(old.payload)["idle_count"] == 2


def test_a_worker_is_announced_over_tls(
    secured_broker: BrokerProcess, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    security = Security(
        username=USERNAME,
        password=SecretStr(PASSWORD),
        tls=True,
        ca_file=secured_broker.folder / CA_FILE,
    )
    with caplog.at_level(logging.WARNING):
        worker = presence(secured_broker.tls_address, topic, security=security)
        wait_until(lambda: is_kept(secured_broker.address, topic))
        worker.close()

    assert kept(secured_broker.address, topic) == []
    assert caplog.messages == []


def test_a_clearing_that_the_broker_could_not_acknowledge_counts_all_the_same(
    own_broker: BrokerProcess, topic: str
) -> None:
    worker = presence(own_broker.address, topic)
    wait_until(lambda: is_kept(own_broker.address, topic))
    own_broker.stop()
    started = time.monotonic()
    worker.close()
    closing_seconds = time.monotonic() - started
    own_broker.cont()

    wait_until(lambda: not kept(own_broker.address, topic))
    assert closing_seconds <= 1 + BUSY_SECONDS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that_does_not_answer_holds_up_no_worker(fault: Fault) -> None:
    with fault() as address:
        started = time.monotonic()
        worker = presence(address, "workers")
        worker.set_idle(1)
        working_seconds = time.monotonic() - started
        worker.close()
        closing_seconds = time.monotonic() - started

    assert working_seconds <= BUSY_SECONDS
    assert closing_seconds - working_seconds <= 1 + BUSY_SECONDS


@pytest.mark.parametrize("worker_id", ["", "a/b", "+", "a#", "a\0b"])
def test_an_id_that_is_no_level_of_a_topic_is_refused(worker_id: str) -> None:
    with pytest.raises(ConfigError, match="no level of an MQTT topic"):
        presence(Address("nowhere", 1), "workers", worker_id)


def test_other_arguments_that_cannot_be_are_refused(mqtt_broker: Address, topic: str) -> None:
    with pytest.raises(ConfigError, match="no MQTT topic"):
        presence(mqtt_broker, "workers/+")
    with pytest.raises(ConfigError, match="heartbeat_seconds is 0"):
        presence(mqtt_broker, topic, heartbeat_seconds=0)
    with pytest.raises(ConfigError, match="task type ''"):
        new_status("w-1", [""], 0, "token")
    with (
        presence(mqtt_broker, topic) as worker,
        pytest.raises(ConfigError, match="idle count is -1: allowed is 0 or more"),
    ):
        worker.set_idle(-1)

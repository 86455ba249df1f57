"""A broker that is away, silent, frozen or mad costs a publisher next to nothing."""

import gc
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, Protocol

import pytest

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from tests.support.faulty_brokers import FAULTS, Fault, dropped, frozen
from tests.support.scripted_broker import (
    CONNACK,
    CONNACK_NOT_AUTHORIZED,
    CONNACK_RECEIVE_MAXIMUM_5,
    CONNACK_UNKNOWN_PROPERTY,
    CONNECT,
    DISCONNECT,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    ScriptedBroker,
)
from tests.support.servers import Address, BrokerProcess, free_address
from tests.support.waiting import BUSY_SECONDS, wait_until

_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "publish_and_exit.py"

# The contract's time; the end of a process takes more on a machine that is busy.
_CLOSE_SECONDS: Final = 2.0 + BUSY_SECONDS
_EXIT_SECONDS: Final = 3.0 + BUSY_SECONDS

# Far more than a call takes, and far less than a connection that it would wait for.
_CALL_MS: Final = 500.0


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=50,
        task_type="image_resize",
        seq=seq,
    )


class Request(Protocol):
    @property
    def param(self) -> Fault: ...


@pytest.fixture(params=FAULTS)
def faulty(request: Request) -> Generator[Address]:
    """Address of a broker that does not do its work."""
    with request.param() as address:
        yield address


def cost_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def publish_costs_ms(broadcaster: MqttBroadcaster) -> list[float]:
    """Publish 200 events, a moment apart as jobs do, and return what each cost."""
    costs: list[float] = []
    for seq in range(200):
        costs.append(cost_ms(lambda seq=seq: broadcaster.publish(event(seq))))
        time.sleep(0.002)
    return costs


def test_a_broker_that_does_not_answer_holds_up_no_call(faulty: Address) -> None:
    made: list[MqttBroadcaster] = []
    constructing_ms = cost_ms(lambda: made.append(MqttBroadcaster(*faulty, "jobs")))
    subscribing_ms = cost_ms(lambda: made[0].subscribe(print))
    publishing_ms = publish_costs_ms(made[0])
    closing_ms = cost_ms(made[0].close)

    assert max(constructing_ms, subscribing_ms) <= _CALL_MS
    assert statistics.median(publishing_ms) <= 5
    assert statistics.quantiles(publishing_ms, n=10)[-1] <= _CALL_MS
    assert closing_ms <= 1000 * _CLOSE_SECONDS
    assert made[0].dropped_events == 200


def test_a_broker_that_freezes_at_run_time_holds_up_no_call(own_broker: BrokerProcess) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, "jobs")
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(1))
    wait_until(lambda: got)

    own_broker.stop()
    publishing_ms = publish_costs_ms(broadcaster)
    closing_ms = cost_ms(broadcaster.close)

    assert statistics.median(publishing_ms) <= 5
    assert statistics.quantiles(publishing_ms, n=10)[-1] <= _CALL_MS
    assert closing_ms <= 1000 * _CLOSE_SECONDS
    assert broadcaster.dropped_events == 200


def test_a_broker_that_thaws_gets_what_waited(own_broker: BrokerProcess) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, "jobs")
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(0))
    wait_until(lambda: got)

    own_broker.stop()
    for seq in range(1, 100):
        broadcaster.publish(event(seq))
    own_broker.cont()

    wait_until(lambda: len(got) == 100)
    broadcaster.close()
    assert [each.seq for each in got] == list(range(100))


def test_a_broker_that_stays_frozen_is_given_up_after_the_keepalive(
    own_broker: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, "jobs", keepalive_seconds=1)
    broadcaster.subscribe(got.append)
    broadcaster.publish(event(1))
    wait_until(lambda: got)

    own_broker.stop()
    wait_until(lambda: "is away" in caplog.text)
    broadcaster.publish(event(2))
    own_broker.cont()

    wait_until(lambda: event(2) in got)
    broadcaster.close()
    assert "is back" in caplog.text


@pytest.mark.parametrize("faulty", [dropped, frozen], indirect=True)
def test_a_process_ends_in_time_whatever_the_broker_does(faulty: Address, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    command = [sys.executable, str(_PROGRAM), *map(str, faulty), "jobs", "100", str(ended)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(30)
    finally:
        process.kill()
    exit_seconds = time.monotonic() - float(ended.read_text())

    assert code == 0
    assert exit_seconds <= _EXIT_SECONDS


def test_memory_is_bounded_while_the_broker_is_away_and_the_newest_events_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gc.collect()
    tracemalloc.start()
    broadcaster = MqttBroadcaster(*free_address(), "jobs", max_queued_events=1000)
    for seq in range(1000):
        broadcaster.publish(event(seq))
    full_bytes, _ = tracemalloc.get_traced_memory()
    for seq in range(20_000):
        broadcaster.publish(event(seq))
    later_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    broadcaster.close()

    lines = [line for line in caplog.messages if "oldest are dropped" in line]
    assert later_bytes - full_bytes <= 100_000
    assert broadcaster.dropped_events == 21_000
    assert len(lines) == 15  # at 1, 2, 4 ... 16,384 lost events


def test_after_a_long_outage_the_newest_events_arrive_in_order(own_broker: BrokerProcess) -> None:
    own_broker.kill()
    got: list[JobEvent] = []
    broadcaster = MqttBroadcaster(*own_broker.address, "jobs", max_queued_events=100)
    broadcaster.subscribe(got.append)
    for seq in range(1000):
        broadcaster.publish(event(seq))
    own_broker.start()

    wait_until(lambda: len(got) == 100)
    broadcaster.close()
    assert [each.seq for each in got] == list(range(900, 1000))
    assert broadcaster.dropped_events == 900


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (CONNACK_NOT_AUTHORIZED, "it refused the connection (Not authorized)"),
        (CONNACK_UNKNOWN_PROPERTY, "the connection ended (Protocol error)"),
        (b"\xff" * 1000, "the connection ended (Protocol error)"),
    ],
)
def test_a_broker_that_answers_wrong_is_logged_once_and_tried_again(
    greeting: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedBroker(greeting) as peer:
        broadcaster = MqttBroadcaster(*peer.address, "jobs")
        broadcaster.subscribe(print)
        wait_until(lambda: peer.packets.count(CONNECT) >= 3)
        broadcaster.close()

    away = [line for line in caplog.messages if "is away" in line]
    assert [reason in line for line in away] == [True]


def test_a_host_that_is_no_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    broadcaster = MqttBroadcaster("no..name", 1883, "jobs")
    broadcaster.subscribe(print)

    wait_until(lambda: "is away" in caplog.text)
    broadcaster.close()
    assert "no..name:1883" in caplog.text


def test_no_more_is_in_flight_than_the_broker_allows() -> None:
    with ScriptedBroker(CONNACK_RECEIVE_MAXIMUM_5) as peer:
        broadcaster = MqttBroadcaster(*peer.address, "jobs")
        for seq in range(100):
            broadcaster.publish(event(seq))
        wait_until(lambda: peer.packets.count(PUBLISH) == 5)
        broadcaster.close()

        assert peer.packets.count(PUBLISH) == 5


def test_a_broker_that_refuses_every_message_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    settled: list[bool] = []
    with ScriptedBroker(CONNACK, refuses=True) as peer:
        broadcaster = MqttBroadcaster(*peer.address, "jobs")
        for seq in range(100):
            broadcaster.publish_confirmed(event(seq), settled.append)
        wait_until(lambda: len(settled) == 100)
        broadcaster.close()

    assert not any(settled)
    assert len([line for line in caplog.messages if "refused a message" in line]) == 7


def test_a_broker_that_refuses_every_subscription_fills_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused() -> list[str]:
        return [line for line in caplog.messages if "refused to subscribe" in line]

    with ScriptedBroker(CONNACK, refuses=True) as peer:
        broadcaster = MqttBroadcaster(*peer.address, "jobs")
        for number in range(20):
            broadcaster.subscribe(print, f"jobs/{number}")
        wait_until(lambda: len(refused()) == 5)
        broadcaster.close()

    assert [line.rpartition("; ")[2] for line in refused()] == [
        f"{count} so far" for count in (1, 2, 4, 8, 16)
    ]


def test_subscribers_of_one_topic_share_a_subscription_that_ends_with_the_last() -> None:
    with ScriptedBroker(CONNACK) as peer:
        broadcaster = MqttBroadcaster(*peer.address, "jobs")
        first, second = broadcaster.subscribe(print), broadcaster.subscribe(print)
        wait_until(lambda: SUBSCRIBE in peer.packets)
        first.close()
        broadcaster.subscribe(print, "other")
        wait_until(lambda: peer.packets.count(SUBSCRIBE) == 2)
        second.close()
        wait_until(lambda: UNSUBSCRIBE in peer.packets)
        broadcaster.close()

    assert peer.packets == [CONNECT, SUBSCRIBE, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT]


def test_a_signal_handler_may_publish_in_the_middle_of_a_publish(
    mqtt_broker: Address, topic: str
) -> None:
    broadcaster = MqttBroadcaster(*mqtt_broker, topic)
    handled: list[int] = []

    def handle(_number: int, _frame: object) -> None:
        broadcaster.publish(event(0))
        handled.append(1)
        if len(handled) < 300:  # none may come after the end
            signal.setitimer(signal.ITIMER_REAL, 0.0005)  # the next one: they shall not nest

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        while len(handled) < 300:
            broadcaster.publish(event(1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    broadcaster.close()

    assert len(handled) >= 300

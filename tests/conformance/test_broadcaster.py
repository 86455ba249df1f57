"""What every broadcaster does: one suite for each that brings events to subscribers."""

import threading
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Protocol

import pytest

from cl_server_shared.errors import ClServerError, ConfigError
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.protocols.events import Broadcaster
from tests.support.broadcasters import make_memory, make_mqtt
from tests.support.servers import Address
from tests.support.waiting import wait_until


class Request(Protocol):
    @property
    def param(self) -> Callable[[Address, str], Broadcaster]: ...


@pytest.fixture(params=[make_memory, make_mqtt], ids=["memory", "mqtt"])
def broadcaster(
    request: Request, mqtt_broker: Address, topic: str
) -> Generator[Broadcaster, None, None]:
    made = request.param(mqtt_broker, topic)
    yield made
    made.close()


def events(number: int, job_id: str = "job") -> list[JobEvent]:
    return [
        JobEvent(
            job_id=job_id,
            event_type=JobStatus.processing,
            timestamp=1_700_000_000_000 + seq,
            progress=seq % 100,
            task_type="image_resize",
            seq=seq,
        )
        for seq in range(1, number + 1)
    ]


def publish(broadcaster: Broadcaster, several: Sequence[JobEvent]) -> None:
    for event in several:
        broadcaster.publish(event)


def test_events_arrive_whole_and_in_the_order_of_their_publishing(
    broadcaster: Broadcaster,
) -> None:
    got: list[JobEvent] = []
    broadcaster.subscribe(got.append)

    publish(broadcaster, events(200))

    wait_until(lambda: len(got) == 200)
    assert got == events(200)


def test_two_subscribers_get_every_event_each(broadcaster: Broadcaster) -> None:
    first: list[JobEvent] = []
    second: list[JobEvent] = []
    broadcaster.subscribe(first.append)
    broadcaster.subscribe(second.append)

    publish(broadcaster, events(20))

    wait_until(lambda: len(first) == len(second) == 20)
    assert (first, second) == (events(20), events(20))


def test_what_a_callback_raises_is_logged_and_hurts_nobody(
    broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = count()
    got: list[JobEvent] = []

    def fail(_event: JobEvent) -> None:
        raise ValueError(f"failure {next(numbers)}")

    broadcaster.subscribe(fail)
    broadcaster.subscribe(got.append)
    publish(broadcaster, events(2))

    wait_until(lambda: len(got) == 2)
    assert ["failure 0" in caplog.text, "failure 1" in caplog.text] == [True, True]


def test_a_closed_subscription_gets_nothing_more_and_the_others_do(
    broadcaster: Broadcaster,
) -> None:
    left: list[JobEvent] = []
    stayed: list[JobEvent] = []
    broadcaster.subscribe(stayed.append)
    with broadcaster.subscribe(left.append) as leaving:
        publish(broadcaster, events(1))
        wait_until(lambda: left and stayed)
    leaving.close()

    publish(broadcaster, events(3)[1:])

    wait_until(lambda: len(stayed) == 3)
    assert (left, stayed) == (events(1), events(3))


def test_a_topic_can_be_listened_to_again_after_its_last_subscriber_left(
    broadcaster: Broadcaster,
) -> None:
    got: list[JobEvent] = []
    for event in events(50):
        with broadcaster.subscribe(got.append):
            broadcaster.publish(event)
            wait_until(lambda event=event: event in got)

    assert got == events(50)


@pytest.mark.parametrize("pattern", ["{}", "{}/#", "cl-test/+", "cl-test/#", "+/+"])
def test_a_filter_that_matches_the_topic_gets_each_event_once(
    broadcaster: Broadcaster, topic: str, pattern: str
) -> None:
    plain: list[JobEvent] = []
    filtered: list[JobEvent] = []
    mine = f"job of {topic}"
    broadcaster.subscribe(plain.append)
    broadcaster.subscribe(filtered.append, pattern.format(topic))

    publish(broadcaster, events(5, mine))

    wait_until(lambda: len(plain) == 5 and events(5, mine)[-1] in filtered)
    assert plain == [event for event in filtered if event.job_id == mine] == events(5, mine)


@pytest.mark.parametrize("pattern", ["{}/more", "{}/+", "+", "cl-test"])
def test_a_filter_that_does_not_match_gets_nothing(
    broadcaster: Broadcaster, topic: str, pattern: str
) -> None:
    plain: list[JobEvent] = []
    filtered: list[JobEvent] = []
    broadcaster.subscribe(filtered.append, pattern.format(topic))
    broadcaster.subscribe(plain.append)

    publish(broadcaster, events(5))

    wait_until(lambda: len(plain) == 5)
    assert filtered == []


@pytest.mark.parametrize("bad", ["", "a/#/b", "a+", "nul\0"])
def test_a_filter_that_is_none_is_refused_by_its_name(broadcaster: Broadcaster, bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        broadcaster.subscribe(print, bad)

    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("make", [make_memory, make_mqtt])
@pytest.mark.parametrize("bad", ["", "jobs/+", "jobs/#", "nul\0"])
def test_a_topic_that_nobody_can_publish_on_is_refused_by_its_name(
    make: Callable[[Address, str], Broadcaster], bad: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Address("127.0.0.1", 1883), bad)

    assert repr(bad) in str(caught.value)


def test_a_callback_may_publish_and_its_event_comes_after_the_present_one(
    broadcaster: Broadcaster,
) -> None:
    first, second = events(2)
    got: list[JobEvent] = []

    def follow(event: JobEvent) -> None:
        if event == first:
            broadcaster.publish(second)

    broadcaster.subscribe(follow)
    broadcaster.subscribe(got.append)
    broadcaster.publish(first)

    wait_until(lambda: len(got) == 2)
    assert got == [first, second]


def test_a_callback_may_close_the_broadcaster(broadcaster: Broadcaster) -> None:
    closed = threading.Event()

    def close(_event: JobEvent) -> None:
        broadcaster.close()
        closed.set()

    broadcaster.subscribe(close)
    broadcaster.publish(events(1)[0])

    assert closed.wait(10)


def test_events_of_many_threads_all_arrive_and_those_of_each_in_order(
    broadcaster: Broadcaster,
) -> None:
    got: list[JobEvent] = []
    broadcaster.subscribe(got.append)
    names = [f"job {number}" for number in range(8)]
    threads = [
        threading.Thread(target=publish, args=(broadcaster, events(50, name))) for name in names
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wait_until(lambda: len(got) == 400)
    by_job = {name: [event for event in got if event.job_id == name] for name in names}
    assert by_job == {name: events(50, name) for name in names}


def test_after_close_events_are_dropped_with_a_line_in_the_log(
    broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[JobEvent] = []
    broadcaster.subscribe(got.append)
    broadcaster.close()
    broadcaster.close()

    publish(broadcaster, events(1, "late"))

    assert got == []
    assert ["late" in record.getMessage() for record in caplog.records] == [True]


def test_after_close_nobody_can_subscribe(broadcaster: Broadcaster, topic: str) -> None:
    broadcaster.close()

    with pytest.raises(ClServerError, match=topic):
        broadcaster.subscribe(print)

"""What every broadcaster does that brings events to subscribers: the suite for your own."""

import threading
from collections.abc import Sequence
from itertools import count
from uuid import uuid4

import pytest

from cl_server_shared.errors import ClServerError, ConfigError
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.testing.waiting import wait_until

_MATCHING = ("{topic}", "{topic}/#", "{parent}/+", "{parent}/#", "{plus}")
_OTHERS = ("{topic}/more", "{topic}/+", "{parent}", "{plus}/+")


class BroadcasterConformance:
    """What a `Broadcaster` does, whatever carries its events.

    Derive a class whose name starts with `Test`, with a fixture `broadcaster` that gives an open
    one and closes it. It publishes on `inference/events`, else on what a fixture `topic` gives,
    which has two levels or more. Close it in that fixture, and keep nobody else's events away:
    the suite tells its own by their job ids.
    """

    @pytest.fixture
    def topic(self) -> str:
        """Give the topic that the broadcaster publishes on."""
        return "inference/events"

    def test_events_arrive_whole_and_in_the_order_of_their_publishing(
        self, broadcaster: Broadcaster
    ) -> None:
        got: list[JobEvent] = []
        broadcaster.subscribe(got.append)

        publish(broadcaster, events(200))

        wait_until(lambda: len(got) == 200)
        assert got == events(200)

    def test_two_subscribers_get_every_event_each(self, broadcaster: Broadcaster) -> None:
        first: list[JobEvent] = []
        second: list[JobEvent] = []
        broadcaster.subscribe(first.append)
        broadcaster.subscribe(second.append)

        publish(broadcaster, events(20))

        wait_until(lambda: len(first) == len(second) == 20)
        assert (first, second) == (events(20), events(20))

    def test_what_a_callback_raises_is_logged_and_hurts_nobody(
        self, broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
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
        self, broadcaster: Broadcaster
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
        self, broadcaster: Broadcaster
    ) -> None:
        got: list[JobEvent] = []
        for event in events(50):
            with broadcaster.subscribe(got.append):
                broadcaster.publish(event)
                wait_until(lambda event=event: event in got)

        assert got == events(50)

    @pytest.mark.parametrize("pattern", _MATCHING)
    def test_a_filter_that_matches_the_topic_gets_each_event_once(
        self, broadcaster: Broadcaster, topic: str, pattern: str
    ) -> None:
        plain: list[JobEvent] = []
        filtered: list[JobEvent] = []
        mine = uuid4().hex
        broadcaster.subscribe(plain.append)
        broadcaster.subscribe(filtered.append, filter_of(topic, pattern))

        publish(broadcaster, events(5, mine))

        wait_until(lambda: len(plain) == 5 and events(5, mine)[-1] in filtered)
        assert plain == [event for event in filtered if event.job_id == mine] == events(5, mine)

    @pytest.mark.parametrize("pattern", _OTHERS)
    def test_a_filter_that_does_not_match_gets_nothing(
        self, broadcaster: Broadcaster, topic: str, pattern: str
    ) -> None:
        plain: list[JobEvent] = []
        filtered: list[JobEvent] = []
        mine = uuid4().hex
        broadcaster.subscribe(filtered.append, filter_of(topic, pattern))
        broadcaster.subscribe(plain.append)

        publish(broadcaster, events(5, mine))

        wait_until(lambda: len(plain) == 5)
        assert [event for event in filtered if event.job_id == mine] == []

    @pytest.mark.parametrize("bad", ["", "a/#/b", "a+", "nul\0"])
    def test_a_filter_that_is_none_is_refused_by_its_name(
        self, broadcaster: Broadcaster, bad: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            broadcaster.subscribe(print, bad)

        assert repr(bad) in str(caught.value)

    def test_a_callback_may_publish_and_its_event_comes_after_the_present_one(
        self, broadcaster: Broadcaster
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

    def test_a_callback_may_close_the_broadcaster(self, broadcaster: Broadcaster) -> None:
        closed = threading.Event()

        def close(_event: JobEvent) -> None:
            broadcaster.close()
            closed.set()

        broadcaster.subscribe(close)
        broadcaster.publish(events(1)[0])

        assert closed.wait(10)

    def test_events_of_many_threads_all_arrive_and_those_of_each_in_order(
        self, broadcaster: Broadcaster
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
        self, broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        got: list[JobEvent] = []
        broadcaster.subscribe(got.append)
        broadcaster.close()
        broadcaster.close()

        publish(broadcaster, events(1, "late"))

        assert got == []
        assert ["late" in record.getMessage() for record in caplog.records] == [True]

    def test_after_close_nobody_can_subscribe(self, broadcaster: Broadcaster, topic: str) -> None:
        broadcaster.close()

        with pytest.raises(ClServerError, match=topic):
            broadcaster.subscribe(print)


def events(number: int, job_id: str = "job") -> list[JobEvent]:
    """Return *number* events of a job, in their order."""
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
    """Publish events one after the other."""
    for event in several:
        broadcaster.publish(event)


def filter_of(topic: str, pattern: str) -> str:
    """Fill in *pattern* what stands for a topic, for the level above it, and for all its levels."""
    levels = topic.split("/")
    return pattern.format(
        topic=topic, parent="/".join(levels[:-1]), plus="/".join("+" * len(levels))
    )

"""Events by `async for`: the same from every broadcaster, on asyncio and on trio."""

import gc
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
import pytest

from cl_server_shared.errors import ClServerError, ConfigError
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.stream import EventBuffer, EventStream, events
from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.protocols.events import Broadcaster
from tests.support.broadcasters import make_mqtt
from tests.support.servers import Address
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


class Request(Protocol):
    @property
    def param(self) -> str: ...
    def getfixturevalue(self, argname: str) -> Address: ...


@pytest.fixture(params=["memory", pytest.param("mqtt", marks=pytest.mark.slow)])
def broadcaster(request: Request, topic: str) -> Iterator[Broadcaster]:
    if request.param == "memory":
        made = MemoryBroadcaster(topic)
    else:
        made = make_mqtt(request.getfixturevalue("mqtt_broker"), topic)
    with closing(made):
        yield made


def event(seq: int, job_id: str = "job") -> JobEvent:
    return JobEvent(
        job_id=job_id,
        event_type=JobStatus.processing,
        timestamp=1_700_000_000_000,
        progress=0,
        task_type="resize",
        seq=seq,
        created_at=1,
    )


def publish(broadcaster: Broadcaster, *numbers: int) -> None:
    for seq in numbers:
        broadcaster.publish(event(seq))


async def read(stream: EventStream, number: int) -> list[int]:
    """Read a number of events, and return their sequence numbers."""
    with anyio.fail_after(20):
        return [(await anext(stream)).seq for _ in range(number)]


async def settled(broadcaster: Broadcaster, *numbers: int) -> None:
    """Publish, and return once every subscriber of before has been called with all of it."""
    got: list[int] = []
    with broadcaster.subscribe(lambda each: got.append(each.seq)):  # called after the others
        publish(broadcaster, *numbers)
        await anyio.to_thread.run_sync(wait_until, lambda: got == list(numbers))


async def test_what_is_published_after_events_returned_is_received(
    broadcaster: Broadcaster,
) -> None:
    stream = events(broadcaster)
    publish(broadcaster, *range(200))

    assert await read(stream, 200) == list(range(200))
    await stream.aclose()


async def test_a_task_that_waits_is_woken_by_an_event_from_another_thread(
    broadcaster: Broadcaster,
) -> None:
    async with events(broadcaster) as stream:
        for seq in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, publish, broadcaster, seq)
                assert await read(stream, 1) == [seq]


async def test_async_for_reads_until_it_is_left(broadcaster: Broadcaster) -> None:
    got: list[int] = []
    publishing = threading.Timer(0.05, publish, (broadcaster, 1, 2, 3))
    publishing.start()
    with anyio.fail_after(20):
        async for each in events(broadcaster):
            got.append(each.seq)
            if each.seq == 3:
                break
    publishing.join()

    assert got == [1, 2, 3]


async def test_a_read_that_is_cancelled_loses_no_event(broadcaster: Broadcaster) -> None:
    got: list[int] = []
    publishing = threading.Thread(target=publish, args=(broadcaster, *range(500)))
    async with events(broadcaster) as stream:
        publishing.start()
        with anyio.fail_after(30):
            while len(got) < 500:
                with anyio.move_on_after(0.0005):
                    while True:
                        got.append((await anext(stream)).seq)
    publishing.join()

    assert got == list(range(500))


async def test_with_too_many_waiting_the_oldest_are_dropped_and_counted(
    broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
) -> None:
    async with events(broadcaster, max_waiting=3) as stream:
        await settled(broadcaster, *range(1, 11))

        assert await read(stream, 3) == [8, 9, 10]
        assert stream.dropped == 7
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.rpartition("dropped, ")[2] for line in lines] == [f"{n} so far" for n in (1, 2, 4)]


async def test_each_of_two_streams_gets_every_event(broadcaster: Broadcaster) -> None:
    async with events(broadcaster) as first, events(broadcaster) as second:
        publish(broadcaster, 1, 2, 3)

        assert await read(first, 3) == await read(second, 3) == [1, 2, 3]


@pytest.mark.parametrize(("pattern", "is_match"), [("{}", True), ("+/+", True), ("{}/+", False)])
async def test_it_subscribes_to_what_it_is_given(
    broadcaster: Broadcaster, topic: str, pattern: str, *, is_match: bool
) -> None:
    mine = event(1, job_id=topic)  # others publish below the same first level
    async with events(broadcaster, pattern.format(topic), max_waiting=100_000) as stream:
        got: list[JobEvent] = []
        broadcaster.subscribe(got.append)
        broadcaster.publish(mine)
        await anyio.to_thread.run_sync(wait_until, lambda: mine in got)

        received = (
            await anext_matching(stream, mine) if is_match else await anext_within(stream, 0.2)
        )
    assert received == (mine if is_match else None)


async def anext_matching(stream: EventStream, wanted: JobEvent) -> JobEvent | None:
    with anyio.move_on_after(10):
        async for each in stream:
            if each == wanted:
                return each
    return None


async def anext_within(stream: EventStream, seconds: float) -> JobEvent | None:
    with anyio.move_on_after(seconds):
        return await anext(stream)
    return None


async def test_leaving_its_block_ends_the_subscription(broadcaster: Broadcaster) -> None:
    async with events(broadcaster) as stream:
        await settled(broadcaster, 1)

    await settled(broadcaster, *range(2, 9))

    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await stream.aclose()


async def test_closing_ends_the_read_of_another_task(broadcaster: Broadcaster) -> None:
    stream = events(broadcaster)
    got: list[JobEvent] = []

    async def read_all() -> None:
        got.extend([each async for each in stream])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_all)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
    assert got == []


async def test_a_second_reader_at_the_same_time_is_refused(broadcaster: Broadcaster) -> None:
    async with events(broadcaster) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(read, stream, 1)
        await anyio.wait_all_tasks_blocked()

        with pytest.raises(ClServerError, match="give each task a stream of its own"):
            await anext(stream)
        publish(broadcaster, 1)


async def test_readers_may_take_turns(broadcaster: Broadcaster) -> None:
    async with events(broadcaster) as stream:
        publish(broadcaster, 1, 2)
        for seq in (1, 2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, stream, 1)
            assert stream.dropped == 0, seq


def buffers() -> int:
    """Count the buffers in memory: a subscription that has not ended holds one."""
    gc.collect()
    objects: list[object] = gc.get_objects()
    return sum(isinstance(each, EventBuffer) for each in objects)


async def all_but(before: int) -> None:
    """Return once only *before* buffers are left: a loop lets go of what ended at its next turn."""
    with anyio.fail_after(20):
        while buffers() != before:  # noqa: ASYNC110  # a subscription tells nobody of its end
            await anyio.sleep(0.01)


@pytest.mark.parametrize("in_order", [False, True])
async def test_a_stream_that_nobody_holds_any_more_ends_its_subscription(
    broadcaster: Broadcaster, *, in_order: bool
) -> None:
    before = buffers()
    stream = events(broadcaster, in_order=in_order)
    await settled(broadcaster, 1)
    assert buffers() == before + 1

    del stream

    await all_but(before)


async def test_an_async_for_that_is_left_ends_its_subscription(broadcaster: Broadcaster) -> None:
    before = buffers()
    publishing = threading.Timer(0.05, publish, (broadcaster, 1))
    publishing.start()
    with anyio.fail_after(20):
        async for each in events(broadcaster):
            assert (each, buffers()) == (event(1), before + 1)
            break
    publishing.join()

    await all_but(before)


async def test_a_task_that_is_cancelled_leaves_no_subscription(broadcaster: Broadcaster) -> None:
    before = buffers()

    async def read_for_ever() -> None:
        async for _ in events(broadcaster, in_order=True):
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_for_ever)
        await anyio.wait_all_tasks_blocked()
        assert buffers() == before + 1
        tasks.cancel_scope.cancel()

    await all_but(before)


async def test_in_order_swaps_and_repetitions_are_put_right(broadcaster: Broadcaster) -> None:
    async with events(broadcaster, in_order=True, wait_ms=60_000) as stream:
        publish(broadcaster, 2, 1, 1, 2, 5, 4, 3, 1, 6)

        assert await read(stream, 6) == [1, 2, 3, 4, 5, 6]


async def test_in_order_a_gap_that_stays_delays_no_longer_than_wait_ms(
    broadcaster: Broadcaster,
) -> None:
    async with events(broadcaster, in_order=True, wait_ms=50) as stream:
        publish(broadcaster, 1, 3)
        assert await read(stream, 2) == [1, 3]

        publish(broadcaster, 2, 4)
        assert await read(stream, 1) == [4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(events, max_waiting=0), "max_waiting is 0: allowed is 1 or more"),
        (partial(events, in_order=True, wait_ms=-1), "wait_ms is -1: allowed is 0 or more"),
        (partial(events, topic="a/#/b"), "'a/#/b' is no MQTT topic filter"),
    ],
)
async def test_a_bad_argument_is_refused_and_leaves_no_subscription(
    broadcaster: Broadcaster, make: Callable[[Broadcaster], EventStream], message: str
) -> None:
    before = buffers()
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(broadcaster)

    assert buffers() == before


async def test_nobody_can_read_from_a_closed_broadcaster(broadcaster: Broadcaster) -> None:
    broadcaster.close()

    with pytest.raises(ClServerError, match="closed"):
        events(broadcaster)

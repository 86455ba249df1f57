"""A buffer between a thread and a task: nothing is lost, and nobody is left waiting."""

import sys
import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from cl_server_shared.events.stream import EventBuffer
from cl_server_shared.models import JobEvent, JobStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    """Have the interpreter change threads at every chance."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def event(seq: int) -> JobEvent:
    return JobEvent(
        job_id="job",
        event_type=JobStatus.processing,
        timestamp=0,
        progress=0,
        task_type="resize",
        seq=seq,
    )


@pytest.mark.usefixtures("frequent_thread_switches")
async def test_a_reader_that_goes_to_sleep_as_an_event_comes_is_woken() -> None:
    """Each event comes right after the one before was taken, as the reader looks for the next."""
    number = 5_000
    buffer = EventBuffer(10)
    taken = threading.Semaphore(1)

    def put() -> None:
        for seq in range(number):
            if not taken.acquire(timeout=10):
                return
            buffer.put(event(seq))

    writer = threading.Thread(target=put)
    writer.start()
    for seq in range(number):
        with anyio.fail_after(10):
            assert await buffer.take() == event(seq)
        taken.release()
    writer.join()


@pytest.mark.usefixtures("frequent_thread_switches")
async def test_in_a_buffer_of_one_every_event_is_taken_or_counted() -> None:
    """Writer and reader fight for the one event; the last one stays."""
    number = 5_000
    buffer = EventBuffer(1)
    writer = threading.Thread(target=lambda: [buffer.put(event(seq)) for seq in range(number)])
    taken: list[JobEvent | None] = []
    writer.start()
    with anyio.fail_after(30):
        while taken[-1:] != [event(number - 1)]:
            taken.append(await buffer.take())
    writer.join()

    assert len(taken) + buffer.dropped == number


async def test_a_reader_that_is_never_done_leaves_others_their_turn() -> None:
    buffer = EventBuffer(100)
    turns: list[int] = []

    async def take_turns() -> None:
        while True:
            await anyio.lowlevel.checkpoint()
            turns.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turns)
        for seq in range(100):
            buffer.put(event(seq))
        for seq in range(100):
            assert await buffer.take() == event(seq)
        tasks.cancel_scope.cancel()

    assert len(turns) > 10


async def test_a_reader_that_was_cancelled_before_it_began_takes_nothing() -> None:
    buffer = EventBuffer(10)
    buffer.put(event(1))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await buffer.take()

    assert scope.cancelled_caught
    assert await buffer.take() == event(1)


async def test_a_closed_buffer_takes_and_keeps_nothing() -> None:
    buffer = EventBuffer(1)
    buffer.put(event(1))
    buffer.close()
    for seq in range(3):
        buffer.put(event(seq))

    assert (await buffer.take(), buffer.dropped) == (None, 0)


def test_one_buffer_is_read_on_one_loop_after_the_other(anyio_backend: str) -> None:
    buffer = EventBuffer(10)
    for seq in (1, 2):
        publishing = threading.Timer(0.05, buffer.put, (event(seq),))
        publishing.start()
        assert anyio.run(buffer.take, backend=anyio_backend) == event(seq)
        publishing.join()

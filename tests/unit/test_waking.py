"""A task is woken from any thread, on asyncio and on trio."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import final, override

import anyio
import anyio.to_thread
import pytest
import trio

from cl_server_shared.process.loop_waker import LoopWaker
from tests.support.processes import child


@pytest.mark.anyio
async def test_a_wake_from_a_thread_ends_the_wait() -> None:
    waker = LoopWaker()
    woken_from = threading.Thread(target=waker.wake)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            tasks.start_soon(anyio.to_thread.run_sync, woken_from.start)
            await waker.wait()
    woken_from.join()


@pytest.mark.anyio
async def test_a_wake_before_the_wait_is_not_lost() -> None:
    waker = LoopWaker()
    waker.wake()

    with anyio.fail_after(10):
        await waker.wait()


@pytest.mark.anyio
async def test_one_waker_ends_one_wait_after_the_other() -> None:
    waker = LoopWaker()
    for _ in range(3):
        await anyio.to_thread.run_sync(waker.wake)
        with anyio.fail_after(10):
            await waker.wait()


@pytest.mark.anyio
async def test_a_wake_ends_one_wait_only() -> None:
    waker = LoopWaker()
    waker.wake()
    await waker.wait()

    with anyio.move_on_after(0.05) as scope:
        await waker.wait()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_wake_that_comes_with_a_cancellation_ends_this_wait_or_the_next() -> None:
    waker = LoopWaker()
    waits_ended = 0
    with anyio.CancelScope() as scope:
        waker.wake()
        scope.cancel()
        await waker.wait()
        waits_ended += 1

    with anyio.move_on_after(0.05):
        await waker.wait()
        waits_ended += 1
    assert waits_ended == 1


@pytest.mark.anyio
async def test_every_wake_that_follows_a_wait_is_seen_however_many_threads_call() -> None:
    """A counter and a waker: whoever counts, wakes; the task sees the last count."""
    waker = LoopWaker()
    counted: list[int] = []

    def count() -> None:
        for number in range(500):
            counted.append(number)
            waker.wake()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    with anyio.fail_after(20):
        while len(counted) < 2_000:
            await waker.wait()
    for thread in threads:
        thread.join()


@final
class CountingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop; it counts what other threads ask of it."""

    notes = 0

    @override
    def call_soon_threadsafe[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.notes += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def notes_of(task: Callable[[LoopWaker], object]) -> int:
    """Count what the loop is asked of while it is busy with *task*."""

    async def run() -> None:
        waker = LoopWaker()
        task(waker)
        if loop.notes:
            await waker.wait()

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())
    return loop.notes


def wake_often(waker: LoopWaker) -> None:
    for _ in range(10_000):
        waker.wake()


def test_a_busy_loop_gets_one_note_of_many_wakes() -> None:
    assert notes_of(wake_often) == 1


def notes_in_a_fork() -> tuple[int, int]:
    """Wake in a fork first, then in the process itself; count what each asked of its loop."""
    in_fork: list[int] = []

    def fork(waker: LoopWaker) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        pid = os.fork()
        if pid == 0:
            waker.wake()
            os._exit(loop.notes)
        in_fork.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        waker.wake()

    return notes_of(fork), in_fork[0]


def test_a_fork_leaves_its_parents_loop_alone() -> None:
    with child(notes_in_a_fork) as parent:
        assert parent.result() == (1, 0)


async def make_waker() -> LoopWaker:
    return LoopWaker()


def run_on_asyncio(main: Callable[[], Coroutine[object, object, LoopWaker]]) -> LoopWaker:
    return asyncio.run(main())


def run_on_trio(main: Callable[[], Coroutine[object, object, LoopWaker]]) -> LoopWaker:
    return trio.run(main)


@pytest.mark.parametrize("run", [run_on_asyncio, run_on_trio])
def test_waking_a_task_whose_loop_has_ended_harms_nobody(
    run: Callable[[Callable[[], Coroutine[object, object, LoopWaker]]], LoopWaker],
) -> None:
    waker = run(make_waker)

    waker.wake()
    waker.wake()

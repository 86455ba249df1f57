"""Work that shares its way to a thread: everybody gets what is his, whoever leads."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from cl_server_shared.files.convoys import share_way
from cl_server_shared.files.worker_thread import Checkpoint

pytestmark = pytest.mark.anyio

HERE = Path("here")


class WorkFailedError(Exception):
    """What some work raises."""


def note(notes: list[int], number: int, _checkpoint: Checkpoint) -> None:
    notes.append(number)


def hold(begun: Callable[[], object], go: threading.Event, checkpoint: Checkpoint) -> None:
    anyio.from_thread.run_sync(begun)
    assert go.wait(20)
    checkpoint()


async def test_many_at_once_are_all_done_by_a_few_threads() -> None:
    threads, notes = set[int](), list[int]()

    def work(number: int, _checkpoint: Checkpoint) -> None:
        threads.add(threading.get_ident())
        notes.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(share_way, HERE, partial(work, number))

    assert sorted(notes) == list(range(1000))
    assert len(threads) <= 16


async def test_who_fails_fails_alone() -> None:
    failed, notes = list[int](), list[int]()

    def fail(_checkpoint: Checkpoint) -> None:
        raise WorkFailedError

    async def share_failing(number: int) -> None:
        with pytest.raises(WorkFailedError):
            await share_way(HERE, fail)
        failed.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(share_failing, number)
            tasks.start_soon(share_way, HERE, partial(note, notes, number))

    assert (sorted(failed), sorted(notes)) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


async def test_who_is_cancelled_while_it_waits_is_never_done_and_holds_nobody_up() -> None:
    begun, go, notes = anyio.Event(), threading.Event(), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(share_way, HERE, partial(hold, begun.set, go))
        await begun.wait()
        async with anyio.create_task_group() as cancelled:
            cancelled.start_soon(share_way, HERE, partial(note, notes, 1))
            tasks.start_soon(share_way, HERE, partial(note, notes, 2))
            await anyio.sleep(0.01)
            cancelled.cancel_scope.cancel()
        go.set()

    assert notes == [2]


async def test_a_leader_that_is_cancelled_takes_the_others_along_all_the_same() -> None:
    begun, go, notes = anyio.Event(), threading.Event(), list[int]()
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as cancelled:
        # The first goes alone, and the next one leads all that waits by then.
        tasks.start_soon(share_way, HERE, partial(note, notes, 0))
        await anyio.lowlevel.checkpoint()
        cancelled.start_soon(share_way, HERE, partial(hold, begun.set, go))
        tasks.start_soon(share_way, HERE, partial(note, notes, 1))
        tasks.start_soon(share_way, HERE, partial(note, notes, 2))
        await begun.wait()
        cancelled.cancel_scope.cancel()
        go.set()

    assert sorted(notes) == [0, 1, 2]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_leaves_no_work_behind_and_others_alone() -> None:
    begun, go, notes = anyio.Event(), threading.Event(), list[int]()
    leader = asyncio.create_task(share_way(HERE, partial(hold, begun.set, go)))
    await begun.wait()
    waiting = [asyncio.create_task(share_way(HERE, partial(note, notes, n))) for n in range(3)]
    await asyncio.sleep(0.01)
    leader.cancel()
    waiting[0].cancel()
    go.set()
    await asyncio.wait([leader, *waiting])

    assert (leader.cancelled(), waiting[0].cancelled()) == (True, True)
    assert sorted(notes) == [1, 2]


async def test_a_place_that_hangs_holds_up_no_other() -> None:
    begun, go, notes = anyio.Event(), threading.Event(), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(share_way, HERE, partial(hold, begun.set, go))
        await begun.wait()
        await share_way(Path("elsewhere"), partial(note, notes, 1))
        go.set()

    assert notes == [1]


async def test_a_slow_place_gets_more_threads() -> None:
    begun, go, meeting = anyio.Event(), threading.Event(), threading.Barrier(3)

    def be_slow(_checkpoint: Checkpoint) -> None:
        threading.Event().wait(0.03)

    def meet(_checkpoint: Checkpoint) -> None:
        meeting.wait(20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(share_way, HERE, partial(hold, begun.set, go))
        await begun.wait()
        for work in (be_slow, be_slow, meet, meet, meet):
            tasks.start_soon(share_way, HERE, work)
            await anyio.sleep(0.01)
        go.set()

    assert not meeting.broken
